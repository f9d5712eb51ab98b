/** The choice of the checkpoint in words, and what its picture shows. */
import type { SelectionShape } from "@/api/schema";
import { number, plural } from "@/ui/format";

export interface Candidate {
  step: number;
  adapter_digest: string;
  mean: number;
  /** Of the paired difference to the best candidate. */
  standard_error_vs_best: number;
  kl_nats: number;
  eligible: boolean;
  /** What the rule made of it. Decisions of older versions do not say. */
  standing?: "best" | "tied" | "worse" | "unfit" | "not_a_finalist" | null;
  reason: string;
  /** Measured once more at the end, with more answers. */
  finalist: boolean;
}

/**
 * Those that stood for election. Finalists were asked more answers after training: theirs is the mean that the rule saw,
 * over all rows that it looked at.
 */
export function candidatesOf(selection: Pick<SelectionShape, "candidates" | "table">): Candidate[] {
  const scores = new Map((selection.table?.candidates ?? []).map((one) => [one.step, meanOf(one.item_means)]));
  return (selection.candidates as unknown as Candidate[]).map((one) => ({
    ...one,
    mean: scores.get(one.step) ?? one.mean,
    finalist: scores.has(one.step) || selection.table === null || selection.table === undefined,
  }));
}

function meanOf(means: readonly (number | null)[]): number | null {
  const graded = means.filter((mean): mean is number => mean !== null);
  return graded.length ? graded.reduce((sum, mean) => sum + mean, 0) / graded.length : null;
}

/** Highest mean of those that stood for election; an unfit one may have had a higher. */
export function bestOf(candidates: readonly Candidate[]): Candidate | undefined {
  const eligible = candidates.filter((one) => one.eligible);
  return (
    candidates.find((one) => one.standing === "best") ??
    eligible.reduce<Candidate | undefined>((best, one) => (!best || one.mean > best.mean ? one : best), undefined)
  );
}

/** One sentence: which, against whom, and why. */
export function whySentence(selection: SelectionShape): string {
  const candidates = candidatesOf(selection);
  const best = bestOf(candidates);
  const chosen = candidates.find((one) => one.step === selection.chosen_step);
  const eligible = candidates.filter((one) => one.eligible).length;
  if (!best || !chosen) return selection.rule;
  const among = `${eligible} of ${plural(candidates.length, "candidate")}`;
  if (selection.verdict === "no_measurable_gain" && selection.chosen_step === 0) {
    return `The start is delivered: no candidate's gain, measured anew, is surely above zero. The best was step ${best.step} with ${number(best.mean)}.`;
  }
  if (chosen.step === best.step) {
    return `Step ${chosen.step} has the highest score, ${number(chosen.mean)}. ${among} are within one standard error of it, itself included.`;
  }
  // An older rule preferred, of those that tie, the one closest to the base.
  return (
    `Step ${chosen.step} is chosen. Step ${best.step} scores ${number(best.mean)} against ${number(chosen.mean)}, but that is a tie ` +
    `(standard error of the difference ${number(chosen.standard_error_vs_best)}), and step ${chosen.step} is closer to the base: KL ` +
    `${number(chosen.kl_nats)} against ${number(best.kl_nats)}. ${eligible} of ${plural(candidates.length, "candidate")} tie.`
  );
}

/** The range of the picture: all means with one standard error, and a little room. */
export function rangeOf(candidates: readonly Candidate[]): [number, number] {
  const low = Math.min(...candidates.map((one) => one.mean - one.standard_error_vs_best));
  const high = Math.max(...candidates.map((one) => one.mean + one.standard_error_vs_best));
  const room = (high - low || 1) * 0.04;
  return [low - room, high + room];
}
