import { expect, test } from "vitest";
import { beyond, extended } from "./curves";
import type { MetricsShape } from "./schema";

const found = (last: number | null, series: Record<string, [number, number][]>, evaluated: number[], attempt = 1) =>
  ({
    attempt,
    last_step: last,
    series: Object.entries(series).map(([name, points]) => ({ name, points })),
    evaluations: evaluated.map((step) => ({ step })),
  }) as unknown as MetricsShape;

const known = found(3, { loss: [[1, 9], [2, 8], [3, 7]] }, [0, 2]); // biome-ignore format: one step a pair

test("the last known step is asked for again, for its evaluation may have come since", () => {
  expect(beyond(known, 10)).toBe(2);
  const newer = found(4, { kl: [[4, 0.1]], loss: [[3, 7], [4, 6]] }, [3]); // biome-ignore format: one step a pair
  const whole = extended(known, newer)!;
  expect(whole.last_step).toBe(4);
  expect(whole.series).toEqual([
    { name: "kl", points: [[4, 0.1]] },
    { name: "loss", points: [[1, 9], [2, 8], [3, 7], [4, 6]] }, // biome-ignore format: one step a pair
  ]);
  expect(whole.evaluations.map((one) => one.step)).toEqual([0, 2, 3]);
  expect(extended(whole, found(4, { loss: [[4, 6]] }, []))).toBe(whole);
  expect(extended(whole, found(4, { loss: [[4, 6]] }, [4]))!.evaluations).toHaveLength(4);
});

test("everything is read anew when it began again, grew long, or has no step yet", () => {
  expect(extended(known, found(3, { loss: [[3, 7]] }, [], 2))).toBeUndefined();
  expect(extended(known, found(null, {}, []))).toBeUndefined();
  expect(beyond(known, 2)).toBeUndefined();
  expect(beyond(found(0, {}, [0]), 10)).toBeUndefined();
  expect(beyond(found(null, {}, []), 10)).toBeUndefined();
});
