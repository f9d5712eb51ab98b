import { expect, test } from "vitest";
import type { RolloutGroupShape } from "@/api/schema";
import { binRange } from "./bins";
import { promptOf, sorted } from "./groups";

const group = (row: number, mean: number | null, std: number | null, first: number | null, last: number | null) =>
  ({ row, mean, std, first_mean: first, last_mean: last }) as RolloutGroupShape;

test("prompts are ordered as asked; those without a grade come last", () => {
  const groups = [group(0, 0.9, 0.1, 0.5, 1), group(1, null, null, null, null), group(2, 0.2, 0.4, 0.4, 0.1)];
  const rows = (order: Parameters<typeof sorted>[1]) => sorted(groups, order).map((one) => one.row);
  expect(rows("row")).toEqual([0, 1, 2]);
  expect(rows("mean")).toEqual([2, 0, 1]);
  expect(rows("std")).toEqual([2, 0, 1]);
  expect(rows("change")).toEqual([2, 0, 1]);
});

test("a row is its messages and the fields beside them", () => {
  const row = { messages: [{ role: "user", content: "Hi" }], answer: "5", tags: [1] };
  expect(promptOf(row)).toEqual({
    messages: [{ role: "user", text: "Hi" }],
    fields: [
      ["answer", "5"],
      ["tags", "[1]"],
    ],
  });
  expect(promptOf(null)).toEqual({ messages: [], fields: [] });
});

test("a bin asks for its rewards, the last one also for its upper edge", () => {
  const edges = [0, 0.5, 1];
  expect(binRange(edges, 0)).toEqual({ min: 0, max: 0.5 });
  expect(binRange(edges, 1)).toEqual({ min: 0.5, max: undefined });
});
