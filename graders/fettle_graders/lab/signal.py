"""What a model's own answers say before it is trained: which rows can teach it, and how often a group will.

Rewards are given as one list a row, graded answers only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fettle_graders.lab.intervals import Array, Estimate, mean_over_rows, wilson

RowState = Literal["dead", "teachable", "solved", "ungraded"]
Rewards = Sequence[Sequence[float]]


def row_state(rewards: Sequence[float], *, pass_threshold: float) -> RowState:
    """What the answers to one row say about it.

    teachable: two answers differ in reward, so that one can be pushed above the other. Of rows whose answers are all
    equal, solved: they reach `pass_threshold`; dead: they do not. ungraded: fewer than two answers were graded.
    """
    if len(rewards) < 2:
        return "ungraded"
    if min(rewards) != max(rewards):
        return "teachable"
    return "solved" if rewards[0] >= pass_threshold else "dead"


def pass_at_k(num_answers: int, num_passed: int, k: int) -> float:
    """Chance that at least one of k answers passes, without bias: 1 - C(n - c, k) / C(n, k).

    Raises:
        ValueError: k is more than the number of answers.

    Source: Chen et al. 2021, arXiv:2107.03374.
    """
    if not 1 <= k <= num_answers:
        raise ValueError(f"pass@{k} of {num_answers} answers")
    return 1.0 - _all_alike(num_answers, num_answers - num_passed, k)


def mean_pass_at_k(rewards: Rewards, k: int, *, pass_threshold: float, seed: int = 0) -> Estimate | None:
    """pass@k over the rows with at least k graded answers; None when there are none."""
    values = [
        pass_at_k(len(row), sum(reward >= pass_threshold for reward in row), k) for row in rewards if len(row) >= k
    ]
    return mean_over_rows(values, seed=seed) if values else None


def signal_share(rewards: Rewards, group_size: int, *, seed: int = 0) -> Estimate | None:
    """Expected share of groups of `group_size` answers in which two rewards differ; None without a graded row.

    Up to as many answers as a row has, this is estimated without bias: one minus the chance that a group drawn from
    the row's own answers, without putting any back, is all alike. Beyond that it has to be extrapolated. Of rewards
    with two values, each row's rate is taken from a beta distribution fitted to all rows (a row without a success may
    still have some); of other rewards the row's own frequencies are used, so that a row whose answers were all alike
    counts as one that never has a signal, and the share is a lower bound.
    """
    rows = [row for row in rewards if len(row)]
    if not rows:
        return None
    values = sorted({reward for row in rows for reward in row})
    if len(values) == 1:
        # Nothing ever differed: the estimate is 0, and the bound that of the rarest reward that could have been missed.
        rate = wilson(0, sum(map(len, rows))).high
        return Estimate(0.0, 0.0, 1.0 - (1.0 - rate) ** group_size)
    shares = [_unbiased(row, group_size) for row in rows if len(row) >= group_size]
    if len(shares) == len(rows):
        return mean_over_rows(shares, seed=seed)
    if len(values) == 2:
        return mean_over_rows(_extrapolated(rows, values[1], group_size), seed=seed)
    return mean_over_rows([_plug_in(row, group_size) for row in rows], seed=seed)


def _unbiased(row: Sequence[float], group_size: int) -> float:
    return 1.0 - sum(_all_alike(len(row), count, group_size) for count in Counter(row).values())


def _all_alike(num_answers: int, num_alike: int, group_size: int) -> float:
    """Chance that `group_size` of the answers, drawn without putting back, are all among the alike ones."""
    return math.prod((num_alike - i) / (num_answers - i) for i in range(group_size)) if num_alike >= group_size else 0.0


def _plug_in(row: Sequence[float], group_size: int) -> float:
    return 1.0 - sum((count / len(row)) ** group_size for count in Counter(row).values())


def _extrapolated(rows: Rewards, success: float, group_size: int) -> Array:
    num_answers = np.array([len(row) for row in rows], dtype=np.float64)
    successes = np.array([sum(reward == success for reward in row) for row in rows], dtype=np.float64)
    alpha, beta = fit_beta(successes, num_answers)
    a, b = alpha + successes, beta + num_answers - successes
    steps = np.arange(group_size)[:, None]
    all_pass = np.prod((a + steps) / (a + b + steps), axis=0)
    all_fail = np.prod((b + steps) / (a + b + steps), axis=0)
    shares: Array = 1.0 - all_pass - all_fail
    return shares


def fit_beta(successes: Array, trials: Array) -> tuple[float, float]:
    """Beta distribution of the rows' rates by maximum likelihood of their beta-binomial counts, on a refined grid."""
    counts, weights = np.unique(np.stack([successes, trials]), axis=1, return_counts=True)
    logits, sizes = np.linspace(-7, 7, 57), np.linspace(math.log(0.05), math.log(500), 57)
    for _ in range(3):
        mean, size = 1 / (1 + np.exp(-logits))[:, None], np.exp(sizes)[None, :]
        alpha, beta = mean * size, (1 - mean) * size
        likelihood = sum(
            weight * _log_likelihood(alpha, beta, int(passed), int(asked))
            for (passed, asked), weight in zip(counts.T, weights, strict=True)
        )
        row, column = np.unravel_index(int(np.argmax(likelihood)), alpha.shape)
        best = float(alpha[row, column]), float(beta[row, column])
        logits = logits[row] + np.linspace(-1, 1, 21) * (logits[1] - logits[0])
        sizes = sizes[column] + np.linspace(-1, 1, 21) * (sizes[1] - sizes[0])
    return best


def _log_likelihood(alpha: Array, beta: Array, successes: int, trials: int) -> NDArray[np.float64]:
    """Log of B(alpha + c, beta + n - c) / B(alpha, beta), as sums of logarithms: integers need no gamma function."""
    total: NDArray[np.float64] = np.zeros(alpha.shape)
    for i in range(successes):
        total = total + np.log(alpha + i)
    for i in range(trials - successes):
        total = total + np.log(beta + i)
    for i in range(trials):
        total = total - np.log(alpha + beta + i)
    return total
