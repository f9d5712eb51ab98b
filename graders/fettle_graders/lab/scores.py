"""How the scores of a grader are spread: what it says of many answers, at a glance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fettle_graders.lab.intervals import Estimate, mean_over_rows

NUM_BINS = 20


@dataclass(frozen=True)
class Histogram:
    """`counts[i]` scores lie in [edges[i], edges[i + 1]); the last bin has its upper edge."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Scores:
    """Distribution of graded answers.

    Attributes:
        mean: over rows of the mean over a row's answers.
        std: of all answers.
        within_row_std: mean over rows of the standard deviation inside a row: what training can work with. None when
            no row has two graded answers.
        share_zero, share_one: of answers scored exactly 0 and exactly 1.
    """

    num_graded: int
    mean: Estimate
    std: float
    within_row_std: float | None
    minimum: float
    median: float
    maximum: float
    share_zero: float
    share_one: float
    histogram: Histogram


def describe(rows: Sequence[Sequence[float]], *, seed: int = 0) -> Scores | None:
    """The distribution of the scores of each row's graded answers; None when nothing was graded."""
    graded = [np.asarray(row, dtype=np.float64) for row in rows if len(row)]
    if not graded:
        return None
    every = np.concatenate(graded)
    spread = [float(row.std(ddof=1)) for row in graded if len(row) > 1]
    return Scores(
        num_graded=len(every),
        mean=mean_over_rows([float(row.mean()) for row in graded], seed=seed),
        std=float(every.std(ddof=1)) if len(every) > 1 else 0.0,
        within_row_std=math.fsum(spread) / len(spread) if spread else None,
        minimum=float(every.min()),
        median=float(np.median(every)),
        maximum=float(every.max()),
        share_zero=float((every == 0).mean()),
        share_one=float((every == 1).mean()),
        histogram=histogram(every.tolist()),
    )


def histogram(values: Sequence[float], *, num_bins: int = NUM_BINS) -> Histogram:
    """Bins from 0 to 1, wider where a value lies outside."""
    low, high = min(0.0, *values), max(1.0, *values)
    counts, edges = np.histogram(values, bins=num_bins, range=(low, high))
    return Histogram(tuple(float(edge) for edge in edges), tuple(int(count) for count in counts))


def percentile(values: Sequence[float], percent: float) -> float | None:
    """By linear interpolation; None of no values."""
    return float(np.percentile(values, percent)) if len(values) else None
