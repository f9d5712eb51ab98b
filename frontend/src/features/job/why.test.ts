import { expect, test } from "vitest";
import type { SelectionShape } from "@/api/schema";
import { bestOf, type Candidate, candidatesOf, rangeOf, whySentence } from "./why";

const candidate = (
  step: number,
  mean: number,
  error: number,
  kl: number,
  eligible: boolean,
  standing?: Candidate["standing"],
) => ({
  step,
  adapter_digest: "d",
  mean,
  standard_error_vs_best: error,
  kl_nats: kl,
  eligible,
  standing,
  reason: "in words",
  finalist: true,
});

const selection = (chosen: number, candidates: ReturnType<typeof candidate>[], verdict = "improved") =>
  ({ chosen_step: chosen, verdict, rule: "the rule", candidates }) as unknown as SelectionShape;

const three = [
  candidate(0, 0.5, 0.07, 0, false, "worse"),
  candidate(20, 0.975, 0.01, 0.1, true, "tied"),
  candidate(40, 0.98, 0, 0.3, true, "best"),
];

test("where an older rule let the smaller KL decide between those that tie, it says so", () => {
  const words = whySentence(selection(20, three));
  expect(words).toContain("Step 20 is chosen. Step 40 scores 0.980 against 0.975, but that is a tie");
  expect(words).toContain("KL 0.100 against 0.300");
  expect(words).toContain("2 of 3 candidates tie");
});

test("the best itself, and no gain, have their own sentences", () => {
  expect(whySentence(selection(40, three))).toBe(
    "Step 40 has the highest score, 0.980. 2 of 3 candidates are within one standard error of it, itself included.",
  );
  expect(whySentence(selection(0, three, "no_measurable_gain"))).toContain("The start is delivered");
});

test("the best is the one the rule named, even when an unfit one scored more", () => {
  const unfit = candidate(60, 0.99, 0.01, 9, false, "unfit");
  expect(bestOf(candidatesOf(selection(20, [...three, unfit])))?.step).toBe(40);
  // Finalists that were asked more answers: the rule saw other means than the evaluations' own.
  const higher = candidate(20, 0.985, 0.01, 0.1, true, "tied");
  expect(bestOf([higher, three[2]!])?.step).toBe(40);
});

test("an older decision, which does not say what the best was, has the highest eligible one", () => {
  const older = [...three, candidate(60, 0.99, 0.01, 9, false)].map((one) => ({ ...one, standing: undefined }));
  expect(bestOf(older)?.step).toBe(40);
});

test("a finalist's mean is the one that the rule saw, of its graded rows", () => {
  const table = { candidates: [{ step: 20, item_means: [1, 0.5, null] }] };
  const shown = candidatesOf({ candidates: three, table } as unknown as SelectionShape);
  expect(shown.map((one) => [one.step, one.mean, one.finalist])).toEqual([
    [0, 0.5, false],
    [20, 0.75, true],
    [40, 0.98, false],
  ]);
});

test("the picture holds every interval", () => {
  const [low, high] = rangeOf(three);
  expect(low).toBeLessThan(0.43);
  expect(high).toBeGreaterThan(0.985);
});
