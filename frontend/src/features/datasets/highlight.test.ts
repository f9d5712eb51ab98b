import { expect, test } from "vitest";
import { around } from "./highlight";

test("what was found is marked with its quotes", () => {
  expect(around('{"role": "usr", "content": "x"}', "'usr'")).toEqual(['{"role": ', '"usr"', ', "content": "x"}']);
  expect(around('{"n": 12}', "12")).toEqual(['{"n": ', "12", "}"]);
});

test("what does not stand there marks nothing", () => {
  expect(around("{}", "nothing")).toEqual(["{}", "", ""]);
  expect(around("{}", "")).toEqual(["{}", "", ""]);
});

test("a long line is cut around the place", () => {
  const [before, marked, after] = around(`${"a".repeat(5000)}"usr"${"b".repeat(5000)}`, "'usr'");
  expect([before.length, marked, after.length]).toEqual([301, '"usr"', 301]);
  expect(around("c".repeat(5000), "x")[0]).toHaveLength(601);
});
