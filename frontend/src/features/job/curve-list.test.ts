import { expect, test } from "vitest";
import type { EventShape, MetricsShape } from "@/api/schema";
import { chartsOf } from "./curve-list";
import { noticesOf } from "./notices";

const evaluation = (step: number, mean: number) => ({
  step,
  mean,
  standard_error: 0.1,
  kl_nats: 0,
  num_items: 4,
  samples_per_item: 2,
  in_sample: false,
  completion_tokens_mean: null,
  reasoning_tokens_mean: null,
  truncated_share: null,
  graders: {},
});

function metrics(series: Record<string, number[][]>): MetricsShape {
  return {
    object: "fettle.metrics",
    fine_tuning_job_id: "ftjob-1",
    attempt: 1,
    last_step: 2,
    series: Object.entries(series).map(([name, points]) => ({ name, points })),
    evaluations: [evaluation(0, 0.5), evaluation(2, 0.7)],
  };
}

const plain = { smooth: 0, at: (step: number) => step };
const titled = (charts: ReturnType<typeof chartsOf>, title: string) => charts.find((chart) => chart.title === title);

test("the held-out score has its 95 % interval", () => {
  const [reward] = chartsOf(
    metrics({
      train_reward_mean: [
        [1, 0.4],
        [2, 0.6],
      ],
    }),
    plain,
  );
  expect(reward?.series.map((one) => one.name)).toEqual(["training", "held out, 95 %"]);
  const band = reward?.series[1]?.band?.[1];
  expect(band?.[0]).toBe(2);
  expect(band?.[1]).toBeCloseTo(0.7 - 0.196);
  expect(band?.[2]).toBeCloseTo(0.7 + 0.196);
});

test("thinking and answer are split, and only where there is thinking", () => {
  const both = {
    completion_tokens_mean: [
      [1, 30],
      [2, 50],
    ],
    reasoning_tokens_mean: [
      [1, 20],
      [2, 35],
    ],
  };
  const lengths = titled(chartsOf(metrics(both), plain), "Length of answers, tokens");
  expect(lengths?.series.map((one) => [one.name, one.points])).toEqual([
    [
      "thinking",
      [
        [1, 20],
        [2, 35],
      ],
    ],
    [
      "answer",
      [
        [1, 10],
        [2, 15],
      ],
    ],
  ]);
  const none = { completion_tokens_mean: [[1, 30]], reasoning_tokens_mean: [[1, 0]] };
  expect(titled(chartsOf(metrics(none), plain), "Length of answers, tokens")?.series.map((one) => one.name)).toEqual([
    "answer",
  ]);
});

test("groups without signal are what is not informative, on the chosen axis", () => {
  const charts = chartsOf(metrics({ informative_group_share: [[1, 0.75]] }), { smooth: 0, at: (step) => 100 * step });
  expect(titled(charts, "Prompts without signal")?.series[0]?.points).toEqual([[100, 0.25]]);
});

test("one grader is the reward itself and gets no chart of its own", () => {
  expect(titled(chartsOf(metrics({ "grader/a": [[1, 1]] }), plain), "Reward by grader")).toBeUndefined();
  const two = chartsOf(metrics({ "grader/a": [[1, 1]], "grader/b": [[1, 0]] }), plain);
  expect(titled(two, "Reward by grader")?.series.map((one) => one.name)).toEqual(["a", "b"]);
});

test("notices are what names a step and a code, in the order they came, together by step", () => {
  const event = (id: string, data: Record<string, unknown> | null) => ({ id, data }) as unknown as EventShape;
  const newestFirst = [
    event("d", { step: 9, code: "x" }),
    event("c", { step: 4, code: "y" }),
    event("b", { step: 4, code: "x" }),
    event("a", { step: 3 }),
    event("0", null),
  ];
  expect(noticesOf(newestFirst).map((one) => [one.step, one.events.map((said) => said.id)])).toEqual([
    [4, ["b", "c"]],
    [9, ["d"]],
  ]);
});

test("shares begin at zero and have room where nothing happened", () => {
  const charts = chartsOf(
    metrics({
      truncated_share: [
        [1, 0],
        [2, 0],
      ],
      informative_group_share: [[1, 0.2]],
    }),
    plain,
  );
  expect(titled(charts, "Answers cut off")?.range).toEqual([0, 0.1]);
  expect(titled(charts, "Prompts without signal")?.range).toEqual([0, 0.8]);
});
