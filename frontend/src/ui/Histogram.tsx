import { count, number } from "./format";
import classes from "./histogram.module.css";

interface HistogramProps {
  label: string;
  /** One more edge than counts, ascending. */
  edges: readonly number[];
  counts: readonly number[];
}

/** How often each range of values occurs, as columns; the words and numbers are its name and its titles. */
export function Histogram({ label, edges, counts }: HistogramProps) {
  const most = Math.max(1, ...counts);
  const range = (index: number) =>
    `${number(edges[index], 2)} to ${number(edges[index + 1], 2)}: ${count(counts[index] ?? 0)}`;
  const filled = counts.flatMap((value, index) => (value > 0 ? [range(index)] : []));
  return (
    <div role="img" aria-label={`${label}. ${filled.join("; ")}`}>
      <div className={classes.columns}>
        {counts.map((value, index) => (
          <div key={edges[index]} className={classes.column} title={range(index)}>
            {value > 0 && <span className={classes.count}>{count(value)}</span>}
            <span className={classes.bar} style={{ height: `${(100 * value) / most}%` }} />
          </div>
        ))}
      </div>
      <div className={classes.ends}>
        <span>{number(edges[0], 2)}</span>
        <span>{number(edges[edges.length - 1], 2)}</span>
      </div>
    </div>
  );
}
