import { expect, test } from "vitest";
import { cuts } from "./upload";

test("a file is cut without a gap, the last part being the rest", () => {
  expect(cuts(10, 4)).toEqual([
    [0, 4],
    [4, 8],
    [8, 10],
  ]);
  expect(cuts(8, 4)).toHaveLength(2);
});
