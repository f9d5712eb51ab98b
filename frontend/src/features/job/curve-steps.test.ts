import { expect, test } from "vitest";
import type { CheckpointShape } from "@/api/schema";
import { checkpointMarks, nearestStep, stepsOf, stretchOf } from "./curve-steps";

const seconds = (step: number) => step * 10;

test("steps are those of points and of evaluations, ascending", () => {
  const points = [
    [1, 4],
    [2, 8],
  ];
  const metrics = { series: [{ name: "elapsed_s", points }], evaluations: [{ step: 2 }, { step: 0 }] as never };
  expect(stepsOf(metrics)).toEqual([0, 1, 2]);
});

test("a place on the axis belongs to the nearest step", () => {
  expect(nearestStep([0, 4, 8], 44, seconds)).toBe(4);
  expect(nearestStep([0, 4, 8], 79, seconds)).toBe(8);
});

test("a drawn stretch is between steps, whatever the axis counts", () => {
  expect(stretchOf([0, 4, 8, 12], [41, 118], seconds)).toEqual({ from: 4, to: 12 });
  expect(stretchOf([0, 4, 8, 12], [41, 43], seconds)).toEqual({}); // one step is no stretch: nothing changes
});

test("checkpoints are marked at their steps, the delivered one apart", () => {
  const kept = [
    { step_number: 8, fettle: { chosen: true } },
    { step_number: 4, fettle: { chosen: false } },
  ] as CheckpointShape[];
  expect(checkpointMarks(kept, seconds)).toEqual([
    { x: 80, label: "✓ 8", place: "bottom" },
    { x: 40, label: "◆ 4", place: "bottom" },
  ]);
});
