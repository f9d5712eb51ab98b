"""A grader against people: does it agree with them, does it repeat itself, does it like long answers?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fettle_graders.lab.intervals import Array, Estimate, bootstrap, mean_over_rows, wilson
from fettle_graders.lab.rank import members_of, ranks, spearman, spearman_estimate

_NUM_RESAMPLES = 1000
Statistic = Callable[[NDArray[np.intp]], float]  # of the answers at these positions


@dataclass(frozen=True)
class Rated:
    """One answer: what a person and (once or several times) the grader gave it. `group` names its prompt."""

    label: float
    scores: tuple[float, ...]
    num_chars: int
    group: object


@dataclass(frozen=True)
class Confusion:
    """Counts of (person passes, grader passes)."""

    both_pass: int
    both_fail: int
    only_grader: int
    only_person: int


@dataclass(frozen=True)
class Calibration:
    """Attributes:
    agreement: share of answers that person and grader both pass or both fail.
    kappa: Cohen's kappa of the same, which is 0 for agreement by chance; None when one side gives one verdict only.
    spearman: between label and mean score; None when one side has one value only.
    repeat_noise: standard deviation of repeated scores of one answer, pooled; None when nothing was graded twice.
    group_spread: standard deviation of answers to one prompt, pooled, the noise of single scores taken out; None when
        no prompt has two answers.
    length_bias: rank correlation between an answer's length and by how much the grader ranks it above the person.
    """

    num_answers: int
    agreement: Estimate
    kappa: Estimate | None
    confusion: Confusion
    spearman: Estimate | None
    repeat_noise: Estimate | None
    group_spread: Estimate | None
    length_bias: Estimate | None


def calibrate(
    rated: Sequence[Rated], *, label_threshold: float, score_threshold: float, seed: int = 0
) -> Calibration | None:
    """Every number with bounds that resample prompts. None when there is nothing graded.

    Args:
        label_threshold, score_threshold: from where on a label, a score passes.
    """
    graded = [one for one in rated if one.scores]
    if not graded:
        return None
    labels = np.array([one.label for one in graded])
    scores = np.array([math.fsum(one.scores) / len(one.scores) for one in graded])
    groups = [one.group for one in graded]
    passes, scored = labels >= label_threshold, scores >= score_threshold
    lengths = np.array([float(one.num_chars) for one in graded])
    return Calibration(
        num_answers=len(graded),
        agreement=wilson(int((passes == scored).sum()), len(graded)),
        kappa=_over_groups(lambda chosen: _kappa(passes[chosen], scored[chosen]), groups, seed),
        confusion=Confusion(
            both_pass=int((passes & scored).sum()),
            both_fail=int((~passes & ~scored).sum()),
            only_grader=int((~passes & scored).sum()),
            only_person=int((passes & ~scored).sum()),
        ),
        spearman=spearman_estimate(labels, scores, groups, seed=seed),
        repeat_noise=_repeat_noise(graded, seed),
        group_spread=_group_spread(graded, scores, groups, seed),
        length_bias=_over_groups(
            lambda chosen: spearman(lengths[chosen], ranks(scores[chosen]) - ranks(labels[chosen])), groups, seed
        ),
    )


def _over_groups(statistic: Statistic, groups: Sequence[object], seed: int) -> Estimate | None:
    members = members_of(groups)

    def of(picks: NDArray[np.intp]) -> float:
        return statistic(np.concatenate([members[pick] for pick in picks]))

    return bootstrap(of, len(members), seed=seed, num_resamples=_NUM_RESAMPLES)


def _kappa(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Cohen 1960: (observed - expected agreement) / (1 - expected)."""
    observed = float((first == second).mean())
    a, b = float(first.mean()), float(second.mean())
    expected = a * b + (1 - a) * (1 - b)
    return (observed - expected) / (1 - expected) if expected < 1 else math.nan


def _repeat_noise(graded: Sequence[Rated], seed: int) -> Estimate | None:
    return _root(_mean_of([_variance(one.scores) for one in graded if len(one.scores) > 1], seed))


def _group_spread(graded: Sequence[Rated], scores: Array, groups: Sequence[object], seed: int) -> Estimate | None:
    """Variance of mean scores inside prompts, less what repeats alone would make of it."""
    noise = [_variance(one.scores) / len(one.scores) if len(one.scores) > 1 else 0.0 for one in graded]
    variances = [
        max(0.0, _variance(scores[positions]) - math.fsum(noise[position] for position in positions) / len(positions))
        for positions in members_of(groups)
        if len(positions) > 1
    ]
    return _root(_mean_of(variances, seed))


def _variance(values: Sequence[float] | Array) -> float:
    return float(np.var(np.asarray(values, dtype=np.float64), ddof=1))


def _mean_of(values: Sequence[float], seed: int) -> Estimate | None:
    return mean_over_rows(values, seed=seed) if values else None


def _root(variance: Estimate | None) -> Estimate | None:
    """A standard deviation from a variance."""
    if variance is None:
        return None
    return Estimate(*(math.sqrt(max(0.0, bound)) for bound in (variance.value, variance.low, variance.high)))
