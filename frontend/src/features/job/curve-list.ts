/** Which charts a job has, and what is in each. Pure: measurements in, series out. */
import type { MetricsShape } from "@/api/schema";
import { type Series, shareRange, smooth as smoothed } from "@/ui/chart-data";

export interface ChartOf {
  title: string;
  series: Series[];
  format: "number" | "percent";
  wide?: true;
  /** Fixed ends of the y axis. */
  range?: [number, number];
}

interface Options {
  smooth: number;
  /** Where a step lies on the x axis. */
  at: (step: number) => number;
}

type Points = (readonly [number, number])[];

/** Charts without a value are left out. */
export function chartsOf(metrics: MetricsShape, { smooth, at }: Options): ChartOf[] {
  const byName = new Map(metrics.series.map((one) => [one.name, one.points]));
  const points = (name: string, by = (value: number) => value): Points =>
    (byName.get(name) ?? []).map((point) => [at(point[0]!), by(point[1]!)] as const);
  const evaluated = (value: (one: MetricsShape["evaluations"][number]) => number | null): Points =>
    metrics.evaluations.flatMap((one) => {
      const found = value(one);
      return found === null ? [] : [[at(one.step), found] as const];
    });
  const train = (name: string, source: string, style = 0, by?: (value: number) => number): Series[] => {
    const raw = points(source, by);
    if (raw.length === 0) return [];
    if (smooth === 0 || raw.length < 5) return [{ name, points: raw, style }];
    return [
      { name: `${name}, raw`, points: raw, faint: true, style },
      { name, points: smoothed(raw, smooth), style },
    ];
  };
  const heldOut = (name: string, style: number, value: (one: MetricsShape["evaluations"][number]) => number | null) => {
    const found = evaluated(value);
    return found.length ? [{ name, points: found, style }] : [];
  };
  const interval = metrics.evaluations.flatMap((one) =>
    one.standard_error === null
      ? []
      : [[at(one.step), one.mean - 1.96 * one.standard_error, one.mean + 1.96 * one.standard_error] as const],
  );
  const supervised = byName.has("train_loss");
  const score = supervised ? "held-out score (minus loss)" : "held out, 95 %";
  const first: Series[] = [
    ...train("training", supervised ? "train_mean_token_accuracy" : "train_reward_mean"),
    ...heldOut(score, 1, (one) => one.mean).map((one) => ({ ...one, band: interval })),
  ];
  const graders = [...byName.keys()].filter((name) => name.startsWith("grader/"));
  const charts: ChartOf[] = [
    { title: supervised ? "Accuracy and held-out score" : "Reward", series: first, format: "number", wide: true },
    {
      title: "Reward by grader",
      format: "number",
      series: graders.length > 1 ? graders.flatMap((name, index) => grader(name, index)) : [],
    },
    { title: "Training loss", format: "number", series: train("loss", supervised ? "train_loss" : "loss") },
    {
      title: "KL to the base, nats per token",
      format: "number",
      series: [...train("training", "kl_nats"), ...heldOut("held out", 1, (one) => one.kl_nats)],
    },
    { title: "Entropy, nats per token", format: "number", series: train("entropy", "entropy_nats") },
    { title: "Length of answers, tokens", format: "number", series: lengths() },
    {
      title: "Answers cut off",
      format: "percent",
      series: [...train("training", "truncated_share"), ...heldOut("held out", 1, (one) => one.truncated_share)],
    },
    {
      title: "Prompts without signal",
      format: "percent",
      series: train("all answers have the same reward", "informative_group_share", 0, (share) => 1 - share),
    },
    { title: "Sampler against learner, nats per token", format: "number", series: train("k3", "mismatch_kl_nats") },
    { title: "Speed, tokens per second", format: "number", series: train("sampled", "tokens_per_s") },
    {
      title: "Seconds of a step",
      format: "number",
      series: [
        ...train("sampling", "sampling_s", 0),
        ...train("grading", "grading_s", 1),
        ...train("training", "training_s", 2),
      ],
    },
    { title: "Gradient norm", format: "number", series: train("norm", "grad_norm") },
    {
      title: "Learning rate",
      format: "number",
      series: points("lr").length ? [{ name: "rate", points: points("lr") }] : [],
    },
  ];
  return charts.filter((chart) => chart.series.length > 0).map(ranged);

  function grader(name: string, index: number): Series[] {
    return train(name.replace("grader/", ""), name, index % 6);
  }

  /** Thinking and answer apart, where the model thinks. */
  function lengths(): Series[] {
    const all = byName.get("completion_tokens_mean") ?? [];
    const thinking = new Map((byName.get("reasoning_tokens_mean") ?? []).map((point) => [point[0], point[1]!]));
    if (![...thinking.values()].some((tokens) => tokens > 0)) return train("answer", "completion_tokens_mean");
    const answer = all.map((point) => [at(point[0]!), point[1]! - (thinking.get(point[0]) ?? 0)] as const);
    return [
      { name: "thinking", points: points("reasoning_tokens_mean"), style: 0 },
      { name: "answer", points: answer, style: 1 },
    ];
  }
}

/** Shares begin at zero, and end at a tenth or the next one that holds them: a flat zero is a line, not noise. */
function ranged(chart: ChartOf): ChartOf {
  if (chart.format === "percent") return { ...chart, range: shareRange(chart.series) };
  const nothing = chart.series.every((one) => one.points.every((point) => point[1] === 0));
  return nothing ? { ...chart, range: [0, 1] } : chart;
}
