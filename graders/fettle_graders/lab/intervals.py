"""Estimates with 95 % bounds. A dataset row is the sampling unit: answers to one prompt are a cluster, not a sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CONFIDENCE = 0.95
NUM_RESAMPLES = 2000
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Estimate:
    """A value and its two-sided 95 % bounds."""

    value: float
    low: float
    high: float


def wilson(successes: int, trials: int) -> Estimate:
    """Share of successes with Wilson's bounds, which hold at 0 and at all of them too.

    Raises:
        ValueError: no trials.

    Source: Wilson 1927, JASA 22. For 0 of 10 the upper bound is z^2 / (10 + z^2) = 0.278.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    share, z2 = successes / trials, _Z**2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    low = 0.0 if successes == 0 else middle - half
    return Estimate(share, low, 1.0 if successes == trials else middle + half)


def mean_over_rows(values: Sequence[float] | Array, *, seed: int = 0) -> Estimate:
    """Mean of one number a row.

    The bounds are the wider of a bootstrap over rows and of Student's t: with few rows the bootstrap is too narrow.
    Where all rows are 0, or all are 1, neither says anything, and Wilson's bounds over rows stand in. Of a single row
    nothing is known: infinite bounds. All are cut to [0, 1] when every value lies in it.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    rows = np.asarray(values, dtype=np.float64)
    if not len(rows) or not np.isfinite(rows).all():
        raise ValueError("mean_over_rows needs finite values, and at least one")
    mean, is_share = float(rows.mean()), bool((rows >= 0).all() and (rows <= 1).all())
    if np.ptp(rows) == 0:
        if mean in (0.0, 1.0):
            return wilson(round(mean) * len(rows), len(rows))
        if len(rows) > 1:
            return Estimate(mean, mean, mean)
    if len(rows) == 1:
        return Estimate(mean, 0.0, 1.0) if is_share else Estimate(mean, -math.inf, math.inf)
    drawn = rows[_picks(len(rows), seed)].mean(axis=1)
    low, high = (float(q) for q in np.quantile(drawn, (0.025, 0.975)))
    half = student_t(len(rows) - 1) * float(rows.std(ddof=1)) / math.sqrt(len(rows))
    low, high = min(low, mean - half), max(high, mean + half)
    return Estimate(mean, max(0.0, low), min(1.0, high)) if is_share else Estimate(mean, low, high)


def bootstrap(
    statistic: Callable[[NDArray[np.intp]], float],
    num_rows: int,
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Estimate | None:
    """Percentile bounds of any statistic of rows. None: it is not defined on the rows themselves.

    Args:
        statistic: given the positions of the rows to count (with repeats), the value; NaN where it is not defined.
            Resamples without a value are left out.
    """
    value = statistic(np.arange(num_rows)) if num_rows else math.nan
    if not math.isfinite(value):
        return None
    drawn = np.array([statistic(picks) for picks in _picks(num_rows, seed, num_resamples)])
    drawn = drawn[np.isfinite(drawn)]
    low, high = (float(q) for q in np.quantile(drawn, (0.025, 0.975))) if len(drawn) else (value, value)
    return Estimate(value, min(low, value), max(high, value))


def student_t(degrees: int, probability: float = 0.975) -> float:
    """A point of Student's t, by default the 97.5 % point: exact for 1 and 2 degrees, within 0.5 % above.

    Source: Cornish-Fisher expansion, Abramowitz & Stegun 26.7.5.
    """
    share = 2 * probability - 1
    if degrees == 1:
        return math.tan(math.pi * share / 2)
    if degrees == 2:
        return share * math.sqrt(2 / (1 - share**2))
    z, v = NormalDist().inv_cdf(probability), degrees
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / v ** (power + 1) for power, term in enumerate(terms)))


def _picks(num_rows: int, seed: int, num_resamples: int = NUM_RESAMPLES) -> NDArray[np.intp]:
    return np.random.Generator(np.random.Philox(seed)).integers(0, num_rows, (num_resamples, num_rows))
