"""Which checkpoint is delivered, and what may be claimed about it. numpy only.

An item (one held-out row) is the sampling unit: its K answers are a cluster, so every error bar is made from item
means. All checkpoints answer the same items with the same random numbers, so differences are paired.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fettle_graders.lab.intervals import student_t
from fettle_workers.contract.events import Standing

Items = NDArray[np.float64]  # one score per item, NaN where every grade failed

NUM_RESAMPLES = 2000
# With fewer items not even "all of them improved" is significant at 5 % (sign test: 0.5 ** 4 > 0.05).
MIN_ITEMS_FOR_CLAIM = 5
# Above 100 rows in all, half of those held out report only: 15 of 100 at the least.
MIN_ROWS_FOR_REPORT_SPLIT, MIN_ITEMS_FOR_REPORT_SPLIT = 100, 30

RULE = (
    "Of the healthy checkpoints within the KL budget that are at most one standard error below the best, the one "
    "closest to the base is chosen; it is delivered if its gain over step 0, measured anew or freed of the advantage "
    "of being chosen, is above zero with 95 % confidence, and step 0 otherwise."
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

    `fit`: it is healthy and within the KL budget, so that more answers could make it eligible.
    """

    step: int
    mean: float
    standard_error_vs_best: float
    kl_nats: float
    fit: bool
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
    """The one-standard-error rule along the KL axis.

    Among healthy checkpoints within the KL budget, find the best mean; of those not more than one standard error of
    the paired difference below it, choose the lowest KL to the base, then the earlier step. Step 0 is a candidate like
    any other, and always eligible for comparison: it has no KL and cannot be ill.

    Returns:
        The chosen step, and every candidate with what the rule made of it, by step.

    Source: Breiman et al. 1984, the one-standard-error rule of pruning, with KL as the measure of complexity.
    """
    fit = [scored for scored in candidates if not _unfit(scored, kl_budget_nats)]
    if not fit:
        raise ValueError("no candidate is fit; step 0 must be among the candidates")
    best = max(fit, key=lambda scored: (mean_and_error(scored.scores)[0], -scored.step))
    judged = {scored.step: _judge_one(scored, best, kl_budget_nats) for scored in candidates}
    eligible = [scored for scored in fit if judged[scored.step].eligible]
    chosen = min(eligible, key=lambda scored: (scored.kl_nats, scored.step))
    return chosen.step, [judged[step] for step in sorted(judged)]


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
    fit = reason is None
    eligible = fit and (scored.step == best.step or difference >= -error)
    below = f"{-difference:.4f} below the best"
    standing: Standing
    if reason is not None:
        standing = "unfit"
    elif scored.step == best.step:
        standing, reason = "best", "eligible: the highest mean"
    elif eligible:
        standing, reason = "tied", f"eligible: {below}, within one standard error of {error:.4f}"
    else:
        standing, reason = "worse", f"not eligible: {below}, more than one standard error of {error:.4f}"
    return Judged(
        step=scored.step,
        mean=mean,
        standard_error_vs_best=0.0 if scored.step == best.step else error,
        kl_nats=scored.kl_nats,
        fit=fit,
        eligible=eligible,
        standing=standing,
        reason=reason,
    )


def measure_gain(chosen: Items, base: Items) -> Gain:
    """How much better `chosen` is than `base` on the same items, with bounds.

    Each bound is the more cautious of Student's t and of Hall's, which knows that differences lean to one side: where
    most items gain and a few lose much, t alone is too sure. Against a studentised bootstrap, which corrects the same,
    it needs no luck and keeps its width with few items. With fewer than two items the bounds are without meaning.

    Source: Hall 1992, "On the removal of skewness by transformation", with Student's points instead of the normal's.
    """
    difference = chosen - base
    difference = difference[~np.isnan(difference)]
    num_items = len(difference)
    mean, error = mean_and_error(difference)
    if num_items < 2:  # no spread can be measured: bounds that say nothing, yet are numbers
        return Gain(mean if num_items else 0.0, -_UNKNOWN, _UNKNOWN, -_UNKNOWN, num_items)
    lean = _skewness(difference) / math.sqrt(num_items)
    one_sided, two_sided = (student_t(num_items - 1, probability) for probability in (0.95, 0.975))
    return Gain(
        mean=mean,
        low=mean - error * max(two_sided, _leaning(two_sided, lean)),
        high=mean + error * max(two_sided, -_leaning(-two_sided, lean)),
        lower_bound=mean - error * max(one_sided, _leaning(one_sided, lean)),
        num_items=num_items,
    )


def _skewness(values: Items) -> float:
    centred = values - values.mean()
    square = float((centred**2).mean())
    return float((centred**3).mean()) / square**1.5 if square > 1e-24 else 0.0


def _leaning(point: float, lean: float) -> float:
    """A point of Student's t as the point of the t-statistic of a mean, when items' skewness over sqrt(n) is `lean`."""
    if abs(lean) < 1e-6:
        return point
    return 3 * (float(np.cbrt(1 + lean * (point - lean / 6))) - 1) / lean


def corrected_gain(
    candidates: Sequence[Scored], *, kl_budget_nats: float, seed: int, others: Sequence[Scored] = ()
) -> Gain:
    """Gain of the rule's choice over step 0, on the items it was chosen on, without the advantage of being chosen.

    Resample the items, let the rule choose on them, and see how much better its choice looks on the resample than on
    all items: that is the luck of being chosen, which is taken off mean and bounds of the actual choice.

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
    fit = [scored for scored in (*candidates, *others) if not _unfit(scored, kl_budget_nats)]
    gains_IC = np.stack([scored.scores - base.scores for scored in fit], axis=1)
    num_items = len(gains_IC)
    picks = np.random.Generator(np.random.Philox(seed)).integers(0, num_items, (NUM_RESAMPLES, num_items))
    weights_BI = np.zeros((NUM_RESAMPLES, num_items))
    np.add.at(weights_BI, (np.arange(NUM_RESAMPLES)[:, None], picks), 1.0)
    choice_B = _chosen_on(weights_BI, fit)
    looks_BC, _ = _weighted(weights_BI, gains_IC)
    is_C, _ = _weighted(np.ones((1, num_items)), gains_IC)
    luck = float((looks_BC[np.arange(NUM_RESAMPLES), choice_B] - is_C[0, choice_B]).mean())
    return Gain(naive.mean - luck, naive.low - luck, naive.high - luck, naive.lower_bound - luck, naive.num_items)


def _chosen_on(weights_BI: NDArray[np.float64], fit: Sequence[Scored]) -> NDArray[np.int64]:
    """Position in `fit` of the rule's choice on each of B resamples; weights count how often an item was drawn."""
    scores_IC = np.stack([scored.scores for scored in fit], axis=1)
    means_BC, _ = _weighted(weights_BI, scores_IC)
    order_C = np.lexsort(([scored.step for scored in fit], [scored.kl_nats for scored in fit]))
    # The highest mean, of equal ones the earlier step, as in `judge`.
    by_step_C = np.argsort([scored.step for scored in fit], kind="stable")
    best_B = by_step_C[np.argmax(means_BC[:, by_step_C], axis=1)]
    choice_B = np.empty(len(weights_BI), dtype=np.int64)
    for best in np.unique(best_B):
        rows = best_B == best
        mean_BC, error_BC = _weighted(weights_BI[rows], scores_IC - scores_IC[:, [best]])
        eligible_BC = mean_BC >= -error_BC
        eligible_BC[:, best] = True
        choice_B[rows] = order_C[np.argmax(eligible_BC[:, order_C], axis=1)]
    return choice_B


def _weighted(
    weights_BI: NDArray[np.float64], values_IC: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard error of each column on each resample, without its NaN."""
    known_IC = ~np.isnan(values_IC)
    filled_IC = np.where(known_IC, values_IC, 0.0)
    num_BC = np.maximum(weights_BI @ known_IC, 1.0)
    mean_BC = weights_BI @ filled_IC / num_BC
    square_BC = np.maximum(weights_BI @ filled_IC**2 / num_BC - mean_BC**2, 0.0)
    return mean_BC, np.sqrt(square_BC / np.maximum(num_BC - 1, 1.0))


def report_split(num_items: int, *, num_train: int) -> tuple[list[int], list[int]]:
    """Items that checkpoints are selected on, and items that only the final gain is measured on.

    With more than 100 rows in all and 30 of them held out these are two halves; below, both are all items. The order of
    rows says nothing (rows are held out by hash, or come in the user's order), so the halves alternate.
    """
    if num_items < MIN_ITEMS_FOR_REPORT_SPLIT or num_items + num_train <= MIN_ROWS_FOR_REPORT_SPLIT:
        return list(range(num_items)), list(range(num_items))
    return list(range(0, num_items, 2)), list(range(1, num_items, 2))


def finalists(candidates: Sequence[Scored], *, kl_budget_nats: float, num: int) -> list[int]:
    """The steps worth more answers, ascending: step 0, the best, those nearest to the base that the rule may choose,
    and then those with the highest means that more answers could bring near the best."""
    _, judged = judge(candidates, kl_budget_nats=kl_budget_nats)
    eligible = sorted((one for one in judged if one.eligible), key=lambda one: (one.kl_nats, one.step))
    others = sorted((one for one in judged if one.fit and not one.eligible), key=lambda one: (-one.mean, one.step))
    best = max(eligible, key=lambda one: (one.mean, -one.step))
    return sorted(list(dict.fromkeys([0, *(one.step for one in (best, *eligible, *others))]))[:num])


def may_claim(num_items: int, *, in_sample: bool) -> bool:
    """Whether a gain on these items may be called an improvement at all."""
    return not in_sample and num_items >= MIN_ITEMS_FOR_CLAIM
