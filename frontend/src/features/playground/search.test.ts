import { expect, test } from "vitest";
import { playgroundSearch } from "./search";

test("what an address says is kept within what can be asked; anything else in it is dropped", () => {
  expect(playgroundSearch({ prompt: "Hi", temperature: 0.7, tokens: 32, answers: 99, other: 1 })).toEqual({
    prompt: "Hi",
    temperature: 0.7,
    tokens: 32,
    answers: 16,
  });
  expect(playgroundSearch({ prompt: 41, temperature: 3, tokens: -1, answers: 1.5, line: 0, models: "x" })).toEqual({
    prompt: "41",
  });
  expect(playgroundSearch({ prompt: "x".repeat(5000) })).toEqual({});
});
