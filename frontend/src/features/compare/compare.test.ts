import { expect, test } from "vitest";
import type { EvaluationShape, JobShape } from "@/api/schema";
import { differences } from "./differences";
import { outcomes } from "./outcomes";

const evaluation = (means: (number | null)[]) =>
  ({ items: means.map((mean, row) => ({ row, mean })) }) as unknown as EvaluationShape;

test("wins, ties and losses are counted over rows that both answered", () => {
  const found = outcomes(evaluation([0, 0.5, 1, null, 1]), evaluation([1, 0.5, 0.5, 1, 1]));
  expect([found.wins, found.ties, found.losses]).toEqual([1, 2, 1]);
  expect(found.rows[0]).toEqual({ row: 2, baseline: 1, other: 0.5 });
  // Differences 1, 0, -0.5, 0: mean 0.125, variance 1.1875 / 3, error sqrt(of it / 4) = 0.3146.
  expect(found.mean).toBeCloseTo(0.125);
  expect(found.interval?.[0]).toBeCloseTo(0.125 - 1.96 * Math.sqrt(1.1875 / 3 / 4));
  expect(outcomes(evaluation([1]), evaluation([0])).interval).toBeNull();
});

const job = (seed: number, n_epochs: number | string, reference: string) =>
  ({
    model: "m",
    training_file: "file-1",
    validation_file: null,
    seed,
    method: { type: "reinforcement", reinforcement: { grader: { type: "string_check", reference } } },
    fettle: {
      file_digests: { training: "d1", validation: null },
      validation_split: 0.2,
      requested: { n_epochs, batch_size: "auto" },
      plan: { total_steps: 9 },
    },
  }) as unknown as JobShape;

test("only what differs is told, each by its path", () => {
  expect(differences([job(1, 3, "a"), job(1, "auto", "b")])).toEqual([
    { path: "grader.reference", values: ["a", "b"] },
    { path: "n_epochs", values: ["3", "auto"] },
  ]);
  expect(differences([job(1, 3, "a"), job(1, 3, "a")])).toEqual([]);
});

test("graders of different kinds are shown whole", () => {
  const other = job(1, 3, "a");
  (other.method as Record<string, unknown>).reinforcement = { grader: { type: "regex", pattern: "x" } };
  const [only, ...more] = differences([job(1, 3, "a"), other]);
  expect(more).toEqual([]);
  expect(only?.path).toBe("grader");
  expect(JSON.parse(only?.values[1] ?? "")).toEqual({ type: "regex", pattern: "x" });
});
