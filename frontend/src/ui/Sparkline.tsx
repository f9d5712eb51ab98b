import { number } from "./format";

interface SparklineProps {
  points: readonly (readonly number[])[];
  /** What the line is: "Held-out score". */
  label: string;
  width?: number;
  height?: number;
}

/** A line without axes. Its name says first, last and highest. */
export function Sparkline({ points, label, width = 96, height = 24 }: SparklineProps) {
  const first = points[0];
  const last = points[points.length - 1];
  if (!first || !last || points.length < 2) return <span aria-hidden="true">–</span>;
  const path = sparkPath(points, width, height);
  const highest = Math.max(...points.map((point) => point[1]!));
  return (
    <svg
      width={width}
      height={height}
      role="img"
      aria-label={`${label}: from ${number(first[1])} to ${number(last[1])}, highest ${number(highest)}`}
    >
      <path d={path} fill="none" stroke="var(--series-1)" strokeWidth="1.5" />
    </svg>
  );
}

/** The points as an SVG path that fills the box but for two pixels around it; equal values lie in the middle. */
export function sparkPath(points: readonly (readonly number[])[], width: number, height: number): string {
  const xs = points.map((point) => point[0]!);
  const ys = points.map((point) => point[1]!);
  const scale = (values: number[], value: number, size: number) => {
    const low = Math.min(...values);
    const high = Math.max(...values);
    return high === low ? size / 2 : 2 + ((value - low) / (high - low)) * (size - 4);
  };
  const round = (value: number) => Math.round(value * 10) / 10;
  return points
    .map(
      (_, index) =>
        `${index ? "L" : "M"}${round(scale(xs, xs[index]!, width))} ${round(height - scale(ys, ys[index]!, height))}`,
    )
    .join("");
}
