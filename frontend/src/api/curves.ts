/** The measurements of a job as they grow: asked for from the last known step on, and put together here. */
import type { MetricsShape } from "./schema";

/**
 * The `after` that asks for the last known step, whose evaluation may have come later, and all that followed it.
 * Undefined: read from the start, to be thinned by the server, since a series has more points than `most`.
 */
export function beyond(known: MetricsShape, most: number): number | undefined {
  if (known.last_step === null || known.last_step === 0) return undefined;
  if (known.series.some((one) => one.points.length > most)) return undefined;
  return known.last_step - 1;
}

/**
 * What was known and what came, the very same object when nothing did; undefined when steps were done again, so that
 * the two do not fit.
 */
export function extended(known: MetricsShape, newer: MetricsShape): MetricsShape | undefined {
  if (newer.attempt !== known.attempt || newer.last_step === null) return undefined;
  const from = known.last_step ?? 0;
  if (
    newer.last_step === from &&
    newer.evaluations.length === known.evaluations.filter((one) => one.step >= from).length
  )
    return known;
  const came = new Map(newer.series.map((one) => [one.name, one.points]));
  for (const { name } of known.series) if (!came.has(name)) came.set(name, []);
  const before = new Map(known.series.map((one) => [one.name, one.points]));
  return {
    ...newer,
    series: [...came.keys()].sort().map((name) => ({
      name,
      points: [...(before.get(name) ?? []).filter((point) => point[0]! < from), ...came.get(name)!],
    })),
    evaluations: [...known.evaluations.filter((one) => one.step < from), ...newer.evaluations],
  };
}
