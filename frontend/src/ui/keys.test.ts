import { fireEvent, render } from "@testing-library/react";
import { createElement } from "react";
import { afterEach, expect, test, vi } from "vitest";
import { keySequence, turnKeys, useKeys } from "./keys";

afterEach(() => turnKeys(true));

test("two keys within a second are one command, later ones are two", () => {
  const jobs = vi.fn();
  const graders = vi.fn();
  const keys = { "g j": jobs, j: graders };
  const press = keySequence();
  press(keys, "g", 0)?.();
  press(keys, "j", 500)?.();
  expect([jobs.mock.calls.length, graders.mock.calls.length]).toEqual([1, 0]);
  press(keys, "g", 1000)?.();
  press(keys, "j", 2500)?.();
  expect([jobs.mock.calls.length, graders.mock.calls.length]).toEqual([1, 1]);
});

function Keyed({ act }: { act: () => void }) {
  useKeys({ n: act, "mod+k": act });
  return createElement("input", { "aria-label": "text" });
}

test("letters do nothing while somebody types or when they are turned off; Ctrl+K always works", () => {
  const act = vi.fn();
  const { getByLabelText } = render(createElement(Keyed, { act }));
  fireEvent.keyDown(getByLabelText("text"), { key: "n" });
  expect(act).toHaveBeenCalledTimes(0);
  fireEvent.keyDown(document.body, { key: "n" });
  expect(act).toHaveBeenCalledTimes(1);
  turnKeys(false);
  fireEvent.keyDown(document.body, { key: "n" });
  expect(act).toHaveBeenCalledTimes(1);
  fireEvent.keyDown(getByLabelText("text"), { key: "k", ctrlKey: true });
  expect(act).toHaveBeenCalledTimes(2);
});
