"""Rank correlation, with bounds that resample whole rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fettle_graders.lab.intervals import Array, Estimate, bootstrap

_NUM_RESAMPLES = 1000


def ranks(values: Sequence[float] | Array) -> Array:
    """Ranks from 1, ties sharing their mean: [10, 20, 20, 30] -> [1, 2.5, 2.5, 4]."""
    _, inverse, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    shared: Array = (last - (counts - 1) / 2)[inverse]
    return shared


def spearman(first: Sequence[float] | Array, second: Sequence[float] | Array) -> float:
    """Spearman's rho: Pearson's correlation of the ranks. NaN when one side has no two different values."""
    a, b = ranks(first), ranks(second)
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else math.nan


def spearman_estimate(
    first: Sequence[float] | Array, second: Sequence[float] | Array, clusters: Sequence[object], *, seed: int = 0
) -> Estimate | None:
    """Spearman's rho over pairs, its bounds from resampling clusters; None when it is not defined.

    Args:
        clusters: which row each pair belongs to, parallel to the values.
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    members = members_of(clusters)

    def statistic(picks: NDArray[np.intp]) -> float:
        chosen = np.concatenate([members[pick] for pick in picks])
        return spearman(x[chosen], y[chosen])

    return bootstrap(statistic, len(members), seed=seed, num_resamples=_NUM_RESAMPLES)


def members_of(clusters: Sequence[object]) -> list[NDArray[np.intp]]:
    """Positions of each cluster's members, in the order in which clusters first appear."""
    found: dict[object, list[int]] = {}
    for position, cluster in enumerate(clusters):
        found.setdefault(cluster, []).append(position)
    return [np.array(positions) for positions in found.values()]
