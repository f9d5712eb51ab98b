/** What a chart draws, apart from how: aligning series, summing them up in words, finding the nearest point. */

export interface Series {
  name: string;
  /** [x, y] by ascending x. A y of null is a gap. */
  points: readonly (readonly [number, number | null])[];
  /** [x, low, high]: an interval around the line. */
  band?: readonly (readonly [number, number, number])[];
  /** Which of the six colours and dash patterns; default: its place among the series. */
  style?: number;
  /** A faint line behind the others, such as the values before smoothing. */
  faint?: boolean;
}

export interface Aligned {
  x: number[];
  /** For each series its values, then low and high where it has a band; null where it has none at that x. */
  columns: (number | null)[][];
}

/** One common x axis, as uPlot wants it. */
export function align(series: readonly Series[]): Aligned {
  const all = new Set<number>();
  for (const one of series) {
    for (const point of one.points) all.add(point[0]);
    for (const point of one.band ?? []) all.add(point[0]);
  }
  const x = [...all].sort((a, b) => a - b);
  const at = new Map(x.map((value, index) => [value, index]));
  const columns: (number | null)[][] = [];
  const column = (values: Iterable<readonly [number, number | null]>) => {
    const made: (number | null)[] = new Array(x.length).fill(null);
    for (const [where, value] of values) made[at.get(where)!] = value;
    columns.push(made);
  };
  for (const one of series) {
    column(one.points);
    if (one.band) {
      column(one.band.map(([where, low]) => [where, low]));
      column(one.band.map(([where, , high]) => [where, high]));
    }
  }
  return { x, columns };
}

/** `Held-out reward: 12 points, 0.5 at step 0, 0.98 at step 48, highest 0.99.` */
export function summary(series: readonly Series[], xName: string, format: (value: number) => string): string {
  const sentences = series
    .filter((one) => !one.faint)
    .map((one) => {
      const known = one.points.filter((point): point is readonly [number, number] => point[1] !== null);
      const first = known[0];
      const last = known[known.length - 1];
      if (!first || !last) return `${one.name}: no values yet.`;
      const values = known.map((point) => point[1]);
      const range = `lowest ${format(Math.min(...values))}, highest ${format(Math.max(...values))}`;
      return `${one.name}: ${known.length} points, ${format(first[1])} at ${xName} ${first[0]}, ${format(last[1])} at ${xName} ${last[0]}, ${range}.`;
    });
  return sentences.join(" ");
}

/** Index of the x nearest to `value`; -1 when there is none. `x` ascends. */
export function nearest(x: readonly number[], value: number): number {
  if (x.length === 0) return -1;
  let low = 0;
  let high = x.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (x[middle]! < value) low = middle;
    else high = middle;
  }
  return value - x[low]! <= x[high]! - value ? low : high;
}

/** Exponential smoothing; `weight` 0 leaves the values as they are. Gaps stay gaps. */
export function smooth(points: Series["points"], weight: number): [number, number | null][] {
  let mean = 0;
  let mass = 0;
  return points.map(([x, y]) => {
    if (y === null) return [x, null];
    mean = weight * mean + (1 - weight) * y;
    mass = weight * mass + (1 - weight);
    return [x, mean / mass];
  });
}

/** The y axis of shares: from zero to the tenth that holds them all, at least one tenth. */
export function shareRange(series: readonly Series[]): [number, number] {
  const values = series.flatMap((one) => one.points.map((point) => point[1] ?? 0));
  return [0, Math.max(1, Math.ceil(Math.max(0, ...values) * 10 - 1e-9)) / 10];
}
