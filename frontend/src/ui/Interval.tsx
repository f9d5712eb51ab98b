import { number, signed } from "./format";
import classes from "./interval.module.css";

interface IntervalProps {
  label: string;
  /** Estimate and the ends of its interval. */
  value: number;
  low: number;
  high: number;
}

/** A difference with its interval around zero: right of the line is better. The words beside it say the same. */
export function Interval({ label, value, low, high }: IntervalProps) {
  const reach = Math.max(Math.abs(low), Math.abs(high), 0.01) * 1.15;
  const at = (x: number) => `${50 + (50 * x) / reach}%`;
  return (
    <div
      className={classes.interval}
      role="img"
      aria-label={`${label}: ${signed(value)}, from ${signed(low)} to ${signed(high)}`}
    >
      <span className={classes.zero} />
      <span className={classes.line} style={{ left: at(low), right: `calc(100% - ${at(high)})` }} />
      <span className={classes.point} style={{ left: at(value) }} />
      <span className={classes.ends}>
        <span>−{number(reach, 2)}</span>
        <span>0</span>
        <span>+{number(reach, 2)}</span>
      </span>
    </div>
  );
}
