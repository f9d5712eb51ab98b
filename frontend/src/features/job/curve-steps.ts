/** Steps and places on the x axis, which may count seconds or tokens. */
import type { CheckpointShape, MetricsShape } from "@/api/schema";
import type { Mark } from "@/ui/Chart";

type At = (step: number) => number;

/** Every step that has a point, ascending. */
export function stepsOf(metrics: Pick<MetricsShape, "series" | "evaluations">): number[] {
  const found = new Set<number>(metrics.evaluations.map((one) => one.step));
  for (const one of metrics.series) if (one.name === "elapsed_s") for (const point of one.points) found.add(point[0]!);
  return [...found].sort((a, b) => a - b);
}

export function nearestStep(steps: readonly number[], where: number, at: At): number {
  return steps.reduce((best, one) => (Math.abs(at(one) - where) < Math.abs(at(best) - where) ? one : best));
}

/** The steps of a drawn stretch, at least two. */
export function stretchOf(
  steps: readonly number[],
  stretch: readonly [number, number],
  at: At,
): { from?: number; to?: number } {
  const [from, to] = [nearestStep(steps, stretch[0], at), nearestStep(steps, stretch[1], at)];
  return from < to ? { from, to } : {};
}

/** Checkpoints that can be used, and which of them is delivered. */
export function checkpointMarks(kept: readonly CheckpointShape[], at: At): Mark[] {
  return kept.map((one) => ({
    x: at(one.step_number),
    label: one.fettle.chosen ? `✓ ${one.step_number}` : `◆ ${one.step_number}`,
    place: "bottom",
  }));
}
