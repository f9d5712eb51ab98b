/** Which of several answers is shown, and how sure that is. */

export interface Choice {
  /** Place among the answers; -1 when there is none. */
  best: number;
  /** How many of the answers are that one. */
  alike: number;
  /** Of the graded answers; null when none could be graded. */
  mean: number | null;
  numGraded: number;
}

/**
 * The highest reward wins; without grades the answer that most agree on. Ties go to what is given more often, then to
 * the first.
 *
 * @param rewards one for each answer, null where it was not graded: a failed grade is not a low one.
 */
export function bestOf(texts: readonly string[], rewards: readonly (number | null)[]): Choice {
  const votes = new Map<string, number>();
  for (const text of texts) votes.set(text.trim(), (votes.get(text.trim()) ?? 0) + 1);
  const alike = texts.map((text) => votes.get(text.trim()) ?? 0);
  const graded = rewards.filter((reward): reward is number => reward !== null);
  let best = -1;
  for (const place of texts.keys()) {
    if (best < 0 || better(place, best)) best = place;
  }
  return {
    best,
    alike: alike[best] ?? 0,
    mean: graded.length ? graded.reduce((sum, reward) => sum + reward, 0) / graded.length : null,
    numGraded: graded.length,
  };

  function better(one: number, other: number): boolean {
    const [a, b] = [rewards[one] ?? Number.NEGATIVE_INFINITY, rewards[other] ?? Number.NEGATIVE_INFINITY];
    return a > b || (a === b && alike[one]! > alike[other]!);
  }
}
