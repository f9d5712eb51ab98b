import { expect, test } from "vitest";
import { align, nearest, smooth, summary } from "./chart-data";

test("series with other steps share one axis, with gaps", () => {
  const aligned = align([
    {
      name: "train",
      points: [
        [1, 0.1],
        [2, 0.2],
      ],
    },
    {
      name: "held out",
      points: [
        [0, 0.5],
        [2, 0.7],
      ],
      band: [
        [0, 0.4, 0.6],
        [2, 0.65, 0.75],
      ],
    },
  ]);
  expect(aligned.x).toEqual([0, 1, 2]);
  expect(aligned.columns).toEqual([
    [null, 0.1, 0.2],
    [0.5, null, 0.7],
    [0.4, null, 0.65],
    [0.6, null, 0.75],
  ]);
});

test("the summary says where each line begins, ends and turns", () => {
  const text = summary(
    [
      {
        name: "Reward",
        points: [
          [0, 0.5],
          [4, 0.9],
          [8, 0.8],
          [9, null],
        ],
      },
    ],
    "step",
    String,
  );
  expect(text).toBe("Reward: 3 points, 0.5 at step 0, 0.8 at step 8, lowest 0.5, highest 0.9.");
  expect(summary([{ name: "KL", points: [] }], "step", String)).toBe("KL: no values yet.");
});

test("the nearest point is found from both sides, and at the ends", () => {
  const x = [0, 10, 20, 40];
  expect([-5, 4, 6, 10, 29, 31, 99].map((value) => x[nearest(x, value)])).toEqual([0, 0, 10, 10, 20, 40, 40]);
  expect(nearest([], 3)).toBe(-1);
});

test("smoothing begins at the first value and leaves gaps alone", () => {
  // mass: 0.5, 0.75; mean: 0.5 * 1 = 0.5, then 0.5 * 0.5 + 0.5 * 0 = 0.25 -> 0.25 / 0.75
  expect(
    smooth(
      [
        [0, 1],
        [1, null],
        [2, 0],
      ],
      0.5,
    ),
  ).toEqual([
    [0, 1],
    [1, null],
    [2, 1 / 3],
  ]);
  expect(
    smooth(
      [
        [0, 1],
        [1, 0],
      ],
      0,
    ),
  ).toEqual([
    [0, 1],
    [1, 0],
  ]);
});
