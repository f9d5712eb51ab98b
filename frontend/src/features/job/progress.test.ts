import { expect, test } from "vitest";
import { axisOf } from "@/api/axis";
import { timeLeft } from "./progress";

const series = (name: string, points: number[][]) => ({ name, points });

test("the time left ranges from the fastest to the slowest five steps", () => {
  // Steps 1 to 5 take 2 s each, 6 to 10 take 1 s each; step 0 stands for the start.
  const elapsed = [...Array(11).keys()].map((step) => [step, step <= 5 ? 2 * step : 10 + (step - 5)]);
  expect(timeLeft({ series: [series("elapsed_s", elapsed)] }, 30)).toEqual([20, 40]);
  expect(timeLeft({ series: [series("elapsed_s", elapsed.slice(0, 5))] }, 30)).toBeNull();
  expect(timeLeft({ series: [] }, 30)).toBeNull();
});

test("a step without a point of its own lies between its neighbours on the axis of time", () => {
  const at = axisOf(
    {
      series: [
        series("elapsed_s", [
          [1, 10],
          [3, 30],
          [10, 100],
        ]),
      ],
    },
    "time",
  );
  expect([0, 1, 2, 3, 10, 12].map(at)).toEqual([0, 10, 20, 30, 100, 100]);
  expect(axisOf({ series: [] }, "step")(7)).toBe(7);
});
