"""Which checkpoint is delivered, and what may be claimed about it. numpy only.

An item (one held-out row) is the sampling unit: its K answers are a cluster, so every error bar is made from item
means. All checkpoints answer the same items with the same random numbers, so differences are paired.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fettle_graders.lab.intervals import student_t
from fettle_workers.contract.events import Standing

Items = NDArray[np.float64]  # one score per item, NaN where every grade failed

NUM_RESAMPLES = 2000
# On resamples the winner is ahead by its luck already, so they show too little of it: sqrt(1/2) where all candidates
# are equally good, all of it where one stands out. Between the two, by simulation (benchmarks/selection.py).
LUCK_SHOWN = 1 / 1.35
# With fewer items not even "all of them improved" is significant at 5 % (sign test: 0.5 ** 4 > 0.05).
MIN_ITEMS_FOR_CLAIM = 5
# Half of so many report only. With fewer, both halves together prove more gains, and the bounds hold as well.
MIN_ITEMS_FOR_REPORT_SPLIT = 200

RULE = (
    "Of the healthy checkpoints within the KL budget the one with the highest mean is chosen, of equal ones the one "
    "closest to the base; it is delivered if its gain over step 0, measured anew or freed of the advantage of being "
    "chosen, is above zero with 95 % confidence, and step 0 otherwise."
)

_UNKNOWN = 1e9


@dataclass(frozen=True)
class Scored:
    """A checkpoint with its evaluation."""

    step: int
    scores: Items
    kl_nats: float
    illness: str | None = None


@dataclass(frozen=True)
class Judged:
    """A checkpoint after the rule. `standard_error_vs_best` is that of the paired difference to the best one.

    `eligible`: healthy, within the KL budget, and not surely worse than the best.
    """

    step: int
    mean: float
    standard_error_vs_best: float
    kl_nats: float
    eligible: bool
    standing: Standing
    reason: str


@dataclass(frozen=True)
class Gain:
    """Mean paired difference and its bounds. `low`, `high`: two-sided 95 %; `lower_bound`: one-sided 95 %."""

    mean: float
    low: float
    high: float
    lower_bound: float
    num_items: int


def mean_and_error(scores: Items) -> tuple[float, float]:
    """Mean over graded items and its standard error; (NaN, inf) without any, infinite error of a single one.

    Source: Miller 2024, arXiv:2411.00640.
    """
    graded = scores[~np.isnan(scores)]
    if not len(graded):
        return math.nan, math.inf
    if len(graded) == 1:
        return float(graded[0]), math.inf
    return float(graded.mean()), float(graded.std(ddof=1) / math.sqrt(len(graded)))


def paired_difference(scores: Items, other: Items) -> tuple[float, float]:
    """Mean of `scores - other` over the items that both have, and its standard error."""
    return mean_and_error(scores - other)


def judge(candidates: Sequence[Scored], *, kl_budget_nats: float) -> tuple[int, list[Judged]]:
    """The highest mean among healthy checkpoints within the KL budget; of equal ones the nearest to the base.

    Step 0 is a candidate like any other, and always fit: it has no KL and cannot be ill. One within one standard
    error of the paired difference is called tied, but not preferred for being nearer to the base: in simulation that
    loses more reward, and more proofs of it, than it saves (docs/training.md). Against the luck of the highest mean
    stand the finalists' many answers, the correction of the gain and the gate.

    Returns:
        The chosen step, and every candidate with what the rule made of it, by step.
    """
    fit = _fit(candidates, kl_budget_nats)
    if not fit:
        raise ValueError("no candidate is fit; step 0 must be among the candidates")
    judged = [_judge_one(scored, fit[0], kl_budget_nats) for scored in candidates]
    return fit[0].step, sorted(judged, key=lambda one: one.step)


def _fit(candidates: Sequence[Scored], kl_budget_nats: float) -> list[Scored]:
    """Those that may be delivered, the one to choose first. Rounded, so that the same sum of other rows is a tie."""
    fit = [scored for scored in candidates if not _unfit(scored, kl_budget_nats)]
    return sorted(fit, key=lambda scored: (-round(mean_and_error(scored.scores)[0], 12), scored.kl_nats, scored.step))


def _unfit(scored: Scored, kl_budget_nats: float) -> str | None:
    mean, _ = mean_and_error(scored.scores)
    if math.isnan(mean):
        return "not eligible: no answer could be graded"
    if scored.step == 0:
        return None
    if scored.illness:
        return f"not eligible: {scored.illness}"
    if not scored.kl_nats <= kl_budget_nats:
        return f"not eligible: KL {scored.kl_nats:.3f} nats per token is over the budget of {kl_budget_nats:.3f}"
    return None


def _judge_one(scored: Scored, best: Scored, kl_budget_nats: float) -> Judged:
    mean, _ = mean_and_error(scored.scores)
    difference, error = paired_difference(scored.scores, best.scores)
    error = error if math.isfinite(error) else 0.0
    reason = _unfit(scored, kl_budget_nats)
    below = f"{-difference:.4f} below the best"
    standing: Standing
    if reason is not None:
        standing = "unfit"
    elif scored.step == best.step:
        standing, reason = "best", "the highest mean"
    elif difference >= -error:
        standing, reason = "tied", f"{below}, within one standard error of {error:.4f}"
    else:
        standing, reason = "worse", f"{below}, more than one standard error of {error:.4f}"
    return Judged(
        step=scored.step,
        mean=mean,
        standard_error_vs_best=0.0 if scored.step == best.step else error,
        kl_nats=scored.kl_nats,
        eligible=standing in ("best", "tied"),
        standing=standing,
        reason=reason,
    )


def measure_gain(chosen: Items, base: Items) -> Gain:
    """How much better `chosen` is than `base` on the same items, with bounds.

    Student's t, moved by Johnson's term for the lean of the differences: where most items gain and a few lose much, t
    alone is too sure, and where a few gain much it is too cautious. The items that make a long tail are those a small
    sample lacks, so a lean towards a bound counts twice, and one away from it half, and only where enough items differ
    at all to prove anything. With fewer than two items the bounds are without meaning.

    Source: Johnson 1978, "Modified t tests and confidence intervals for asymmetrical populations", JASA 73. Half and
    twice were found by simulation (benchmarks/selection.py): in full both ways his bounds hold too seldom.
    """
    difference = chosen - base
    difference = difference[~np.isnan(difference)]
    num_items = len(difference)
    mean, error = mean_and_error(difference)
    if num_items < 2:  # no spread can be measured: bounds that say nothing, yet are numbers
        return Gain(mean if num_items else 0.0, -_UNKNOWN, _UNKNOWN, -_UNKNOWN, num_items)
    lean = _skewness(difference) / math.sqrt(num_items)
    away = 0.5 if np.count_nonzero(difference) >= MIN_ITEMS_FOR_CLAIM else 0.0
    one_sided, two_sided = (student_t(num_items - 1, probability) for probability in (0.95, 0.975))
    return Gain(
        mean=mean,
        low=mean - error * _moved(two_sided, lean, away=away),
        high=mean + error * _moved(two_sided, -lean, away=away),
        lower_bound=mean - error * _moved(one_sided, lean, away=away),
        num_items=num_items,
    )


def _skewness(values: Items) -> float:
    """The sample's, freed of most of its bias; 0 of two values."""
    num, centred = len(values), values - values.mean()
    square = float((centred**2).mean())
    if num < 3 or square < 1e-24:
        return 0.0
    return float((centred**3).mean()) / square**1.5 * math.sqrt(num * (num - 1)) / (num - 2)


def _moved(point: float, lean: float, *, away: float) -> float:
    """A point of Student's t below the mean, when the items' skewness over sqrt(n) is `lean`."""
    return point - lean * (away if lean > 0 else 2.0) * (1 + 2 * point**2) / 6


def corrected_gain(
    candidates: Sequence[Scored], *, kl_budget_nats: float, seed: int, others: Sequence[Scored] = ()
) -> Gain:
    """Gain of the rule's choice over step 0, on the items it was chosen on, without the advantage of being chosen.

    Resample the items, let the rule choose on them, and see how much better its choice looks on the resample than on
    all items: from that follows the luck of being chosen, which is taken off mean and bounds of the actual choice.

    Args:
        candidates: those that the choice is made from.
        others: those that were left behind on the same items before. They are chosen from in resamples, too: to have
            come through is a part of the luck.

    Source: the bootstrap estimate of optimism, Efron 1983, JASA 78, applied to the choice between checkpoints as in
    arXiv:1708.07180. Scoring each choice on the items left out, as is done there, takes off too much: a resample holds
    two thirds of the items and chooses worse than the rule did.
    """
    chosen, _ = judge(candidates, kl_budget_nats=kl_budget_nats)
    base = next(scored for scored in candidates if scored.step == 0)
    difference = next(scored for scored in candidates if scored.step == chosen).scores - base.scores
    naive = measure_gain(difference, np.zeros(len(difference)))
    if naive.num_items < MIN_ITEMS_FOR_CLAIM or chosen == 0:
        return naive
    finals = _fit(candidates, kl_budget_nats)
    fit = [*finals, *_as_sure(_fit(others, kl_budget_nats), finals)]
    gains_IC = np.stack([scored.scores - base.scores for scored in fit], axis=1)
    num_items = len(gains_IC)
    picks = np.random.Generator(np.random.Philox(seed)).integers(0, num_items, (NUM_RESAMPLES, num_items))
    slots = (picks + num_items * np.arange(NUM_RESAMPLES)[:, None]).ravel()
    weights_BI = np.bincount(slots, minlength=NUM_RESAMPLES * num_items).reshape(NUM_RESAMPLES, num_items) * 1.0
    choice_B = _chosen_on(weights_BI, fit)
    looks_BC = _weighted_means(weights_BI, gains_IC)
    is_C = _weighted_means(np.ones((1, num_items)), gains_IC)[0]
    shown = float((looks_BC[np.arange(NUM_RESAMPLES), choice_B] - is_C[choice_B]).mean())
    luck = shown / LUCK_SHOWN
    # The upper end is cautious the other way: where one candidate stands out, no more was luck than is shown.
    return Gain(naive.mean - luck, naive.low - luck, naive.high - shown, naive.lower_bound - luck, naive.num_items)


def _as_sure(others: Sequence[Scored], finalists: Sequence[Scored]) -> list[Scored]:
    """`others` as they might be with as many answers as the finalists.

    Their differences to the first of these, which is the best, keep their mean and get the spread that is usual among
    finalists. Step 0 is left out of that: what training changed is no noise.
    """
    best = finalists[0].scores
    spreads = [_spread(one.scores - best) for one in finalists[1:] if one.step != 0]
    usual = float(np.mean(spreads)) if spreads else math.inf
    found = []
    for one in others:
        difference = one.scores - best
        mean, spread = mean_and_error(difference)[0], _spread(difference)
        share = min(1.0, usual / spread) if spread else 1.0
        found.append(replace(one, scores=best + mean + (difference - mean) * share))
    return found


def _spread(values: Items) -> float:
    return float(np.nanstd(values))


def _chosen_on(weights_BI: NDArray[np.float64], fit: Sequence[Scored]) -> NDArray[np.int64]:
    """Position in `fit` of the rule's choice on each of B resamples; weights count how often an item was drawn."""
    order_C = np.lexsort(([scored.step for scored in fit], [scored.kl_nats for scored in fit]))
    means_BC = _weighted_means(weights_BI, np.stack([scored.scores for scored in fit], axis=1))
    # Rounded, so that equal means are equal on every machine, in whatever order it adds.
    found: NDArray[np.int64] = order_C[np.argmax(means_BC[:, order_C].round(12), axis=1)]
    return found


def _weighted_means(weights_BI: NDArray[np.float64], values_IC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each column on each resample, without its NaN."""
    known_IC = ~np.isnan(values_IC)
    means_BC: NDArray[np.float64] = (
        weights_BI @ np.where(known_IC, values_IC, 0.0) / np.maximum(weights_BI @ known_IC, 1.0)
    )
    return means_BC


def report_split(num_items: int) -> tuple[list[int], list[int]]:
    """Items that checkpoints are selected on, and items that only the final gain is measured on: both are all items, or
    of many items two halves.

    The order of rows says nothing (rows are held out by hash, or come in the user's order), so the halves alternate.
    """
    if num_items < MIN_ITEMS_FOR_REPORT_SPLIT:
        return list(range(num_items)), list(range(num_items))
    return list(range(0, num_items, 2)), list(range(1, num_items, 2))


def finalists(candidates: Sequence[Scored], *, kl_budget_nats: float, num: int) -> list[int]:
    """The steps worth more answers, ascending: step 0, and the highest means that may be delivered."""
    best = [scored.step for scored in _fit(candidates, kl_budget_nats)]
    return sorted(list(dict.fromkeys([0, *best]))[:num])


def may_claim(num_items: int, *, in_sample: bool) -> bool:
    """Whether a gain on these items may be called an improvement at all."""
    return not in_sample and num_items >= MIN_ITEMS_FOR_CLAIM
