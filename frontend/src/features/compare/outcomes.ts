import type { EvaluationShape } from "@/api/schema";

export interface Outcome {
  row: number;
  baseline: number;
  other: number;
}

export interface Outcomes {
  wins: number;
  ties: number;
  losses: number;
  /** Rows that both answered, the worst for the other first. */
  rows: Outcome[];
  mean: number;
  /** 95 %, of the mean paired difference; null with fewer than two rows. */
  interval: [number, number] | null;
}

/** Row by row on the same held-out rows: how the other did against the baseline. */
export function outcomes(baseline: EvaluationShape, other: EvaluationShape): Outcomes {
  const before = new Map(baseline.items.map((item) => [item.row, item.mean]));
  const rows = other.items
    .flatMap(({ row, mean }) => {
      const base = before.get(row);
      return mean === null || base === null || base === undefined ? [] : [{ row, baseline: base, other: mean }];
    })
    .sort((a, b) => a.other - a.baseline - (b.other - b.baseline) || a.row - b.row);
  const differences = rows.map((one) => one.other - one.baseline);
  const mean = differences.reduce((sum, one) => sum + one, 0) / Math.max(1, rows.length);
  const variance = differences.reduce((sum, one) => sum + (one - mean) ** 2, 0) / Math.max(1, rows.length - 1);
  const error = Math.sqrt(variance / Math.max(1, rows.length));
  return {
    wins: differences.filter((one) => one > 0).length,
    ties: differences.filter((one) => one === 0).length,
    losses: differences.filter((one) => one < 0).length,
    rows,
    mean,
    interval: rows.length < 2 ? null : [mean - 1.96 * error, mean + 1.96 * error],
  };
}
