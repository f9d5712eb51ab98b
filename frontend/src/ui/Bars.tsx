import { UnstyledButton } from "@mantine/core";
import type { ReactNode } from "react";
import classes from "./bars.module.css";
import { count } from "./format";

export interface Bar {
  key: string;
  label: ReactNode;
  value: number;
}

interface BarsProps {
  label: string;
  bars: readonly Bar[];
  format?: (value: number) => string;
  /** A click on a bar, such as: filter by it. */
  onSelect?: (key: string) => void;
}

/** Counts side by side, each with its number. */
export function Bars({ label, bars, format = count, onSelect }: BarsProps) {
  const most = Math.max(1, ...bars.map((bar) => bar.value));
  return (
    <ul className={classes.bars} aria-label={label}>
      {bars.map((bar) => {
        const inside = (
          <>
            <span className={classes.label}>{bar.label}</span>
            <span className={classes.track} aria-hidden>
              <span className={classes.bar} style={{ width: `${(100 * bar.value) / most}%` }} />
            </span>
            <span className={classes.value}>{format(bar.value)}</span>
          </>
        );
        return (
          <li key={bar.key}>
            {onSelect ? (
              <UnstyledButton className={classes.row} data-opens onClick={() => onSelect(bar.key)}>
                {inside}
              </UnstyledButton>
            ) : (
              <div className={classes.row}>{inside}</div>
            )}
          </li>
        );
      })}
    </ul>
  );
}
