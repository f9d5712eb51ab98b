/** What the measurements so far say about the rest of the job. */
import type { MeasuredShape, MetricsShape } from "@/api/schema";

type Points = readonly (readonly number[])[];

export function bestSoFar(evaluations: readonly MeasuredShape[]): MeasuredShape | undefined {
  return evaluations.reduce<MeasuredShape | undefined>(
    (best, one) => (best === undefined || one.mean > best.mean ? one : best),
    undefined,
  );
}

const WINDOW = 5;
const WINDOWS = 8;

/**
 * Seconds that the remaining steps take, from the fastest to the slowest five of the last forty steps (evaluations
 * included). Null before five steps are done. The final measurements come on top.
 */
export function timeLeft(metrics: Pick<MetricsShape, "series">, totalSteps: number): [number, number] | null {
  const elapsed: Points = metrics.series.find((one) => one.name === "elapsed_s")?.points ?? [];
  const last = elapsed[elapsed.length - 1];
  if (!last || elapsed.length <= WINDOW) return null;
  const paces: number[] = [];
  for (let end = elapsed.length - 1; end >= WINDOW && paces.length < WINDOWS; end -= WINDOW) {
    const [from, to] = [elapsed[end - WINDOW]!, elapsed[end]!];
    paces.push((to[1]! - from[1]!) / (to[0]! - from[0]!));
  }
  const remaining = Math.max(0, totalSteps - last[0]!);
  return [remaining * Math.min(...paces), remaining * Math.max(...paces)];
}
