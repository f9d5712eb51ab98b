import type { MetricsShape } from "./schema";

type Points = readonly (readonly number[])[];

/** Where a step lies on an axis of seconds or tokens: between its neighbours, where the server left it out. */
export function axisOf(
  metrics: Pick<MetricsShape, "series">,
  axis: "step" | "time" | "tokens",
): (step: number) => number {
  if (axis === "step") return (step) => step;
  const name = axis === "time" ? "elapsed_s" : "trained_tokens";
  const points: Points = metrics.series.find((one) => one.name === name)?.points ?? [];
  return (step) => interpolated(points, step);
}

function interpolated(points: Points, step: number): number {
  let before: readonly number[] = [0, 0];
  for (const point of points) {
    if (point[0]! >= step) {
      const share = point[0] === before[0] ? 1 : (step - before[0]!) / (point[0]! - before[0]!);
      return Math.round(before[1]! + share * (point[1]! - before[1]!));
    }
    before = point;
  }
  return Math.round(before[1]!);
}
