import { axisOf } from "@/api/axis";
import type { MetricsShape } from "@/api/schema";
import { type Series, smooth } from "@/ui/chart-data";

interface Overlaid {
  title: string;
  series: Series[];
  format: "number" | "percent";
  wide?: true;
}

const TRAINING = [
  ["Training reward", "train_reward_mean", "number"],
  ["KL to the base, nats per token", "kl_nats", "number"],
  ["Entropy, nats per token", "entropy_nats", "number"],
  ["Length of answers, tokens", "completion_tokens_mean", "number"],
  ["Answers cut off", "truncated_share", "percent"],
] as const;

/** One chart a measurement, one line a job; the held-out score with its 95 % interval. */
export function overlaid(
  jobs: readonly { name: string; metrics: MetricsShape }[],
  axis: "step" | "time" | "tokens",
): Overlaid[] {
  const at = jobs.map(({ metrics }) => axisOf(metrics, axis));
  const heldOut: Series[] = jobs.map(({ name, metrics }, index) => ({
    name,
    points: metrics.evaluations.map((one) => [at[index]!(one.step), one.mean] as const),
    band: metrics.evaluations.flatMap((one) =>
      one.standard_error === null
        ? []
        : [[at[index]!(one.step), one.mean - 1.96 * one.standard_error, one.mean + 1.96 * one.standard_error] as const],
    ),
  }));
  const charts: Overlaid[] = TRAINING.map(([title, source, format]) => ({
    title,
    format,
    series: jobs.map(({ name, metrics }, index) => {
      const points = metrics.series.find((one) => one.name === source)?.points ?? [];
      return {
        name,
        points: smooth(
          points.map((point) => [at[index]!(point[0]!), point[1]!] as const),
          0.6,
        ),
      };
    }),
  }));
  return [
    { title: "Held-out score, 95 %", series: heldOut, format: "number" as const, wide: true as const },
    ...charts,
  ].filter((chart) => chart.series.some((one) => one.points.length > 0));
}
