"""Two graders on the same answers: what would training have done differently?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fettle_graders.lab.intervals import Array, Estimate, bootstrap, mean_over_rows, wilson
from fettle_graders.lab.rank import spearman_estimate

_EQUAL = 1e-9  # advantages are differences of floats


@dataclass(frozen=True)
class Group:
    """The answers to one prompt in one step. NaN: the grade failed."""

    old: Array
    new: Array


@dataclass(frozen=True)
class Flip:
    """One answer that would have been pushed the other way."""

    group: int
    member: int
    old_advantage: float
    new_advantage: float


@dataclass(frozen=True)
class Comparison:
    """Attributes:
    num_compared: answers that both graders could grade; every other number is about these.
    old_mean, new_mean: over groups of their mean.
    spearman: of the two rewards over all answers; None when one grader gave one value only.
    changed_winners: share of groups, among those in which the old grader told answers apart and the new one does too,
        whose best answers under the new grader are none of the best under the old. None without such a group.
    flipped: share of answers with an old advantage other than zero whose new advantage has the other sign.
    silenced, awakened: groups in which only the old, only the new grader tells answers apart.
    flips: every flipped answer, the largest swing first.
    """

    num_groups: int
    num_compared: int
    old_mean: Estimate
    new_mean: Estimate
    spearman: Estimate | None
    changed_winners: Estimate | None
    flipped: Estimate | None
    silenced: int
    awakened: int
    flips: tuple[Flip, ...]


def compare(groups: Sequence[Group], *, seed: int = 0) -> Comparison | None:
    """Compare rewards and what follows from them; bounds resample groups. None when no answer has both grades."""
    pairs = [(index, _both(group)) for index, group in enumerate(groups)]
    kept = [(index, positions) for index, positions in pairs if len(positions)]
    if not kept:
        return None
    old = [groups[index].old[positions] for index, positions in kept]
    new = [groups[index].new[positions] for index, positions in kept]
    flips = [
        Flip(index, int(positions[member]), float(before[member]), float(after[member]))
        for (index, positions), before, after in zip(kept, map(_centred, old), map(_centred, new), strict=True)
        for member in np.flatnonzero(_has_flipped(before, after))
    ]
    told_old, told_new = [_differs(rewards) for rewards in old], [_differs(rewards) for rewards in new]
    judged = [_winner_changed(a, b) for a, b in zip(old, new, strict=True) if _differs(a) and _differs(b)]
    return Comparison(
        num_groups=len(kept),
        num_compared=sum(map(len, old)),
        old_mean=mean_over_rows([float(rewards.mean()) for rewards in old], seed=seed),
        new_mean=mean_over_rows([float(rewards.mean()) for rewards in new], seed=seed),
        spearman=spearman_estimate(
            np.concatenate(old),
            np.concatenate(new),
            [index for (index, positions) in kept for _ in positions],
            seed=seed,
        ),
        changed_winners=wilson(sum(judged), len(judged)) if judged else None,
        flipped=_flipped_share(old, new, seed=seed),
        silenced=sum(a and not b for a, b in zip(told_old, told_new, strict=True)),
        awakened=sum(b and not a for a, b in zip(told_old, told_new, strict=True)),
        flips=tuple(sorted(flips, key=lambda flip: -abs(flip.new_advantage - flip.old_advantage))),
    )


def _flipped_share(old: Sequence[Array], new: Sequence[Array], *, seed: int) -> Estimate | None:
    num_flipped = np.array([_has_flipped(_centred(a), _centred(b)).sum() for a, b in zip(old, new, strict=True)])
    num_pushed = np.array([(np.abs(_centred(a)) > _EQUAL).sum() for a in old])

    def share(picks: NDArray[np.intp]) -> float:
        pushed = num_pushed[picks].sum()
        return float(num_flipped[picks].sum() / pushed) if pushed else math.nan

    estimate = bootstrap(share, len(old), seed=seed)
    if estimate is not None and estimate.value in (0.0, 1.0):  # no resample can differ, which proves nothing
        pushed = int((num_pushed > 0).sum())
        return wilson(pushed if estimate.value else 0, pushed)
    return estimate


def _both(group: Group) -> NDArray[np.intp]:
    return np.flatnonzero(~np.isnan(group.old) & ~np.isnan(group.new))


def _centred(rewards: Array) -> Array:
    """The advantage of each answer: its reward minus the group's mean."""
    centred: Array = rewards - rewards.mean()
    return centred


def _has_flipped(before: Array, after: Array) -> NDArray[np.bool_]:
    flipped: NDArray[np.bool_] = (np.abs(before) > _EQUAL) & (np.abs(after) > _EQUAL) & (before * after < 0)
    return flipped


def _differs(rewards: Array) -> bool:
    return bool(np.ptp(rewards) > _EQUAL)


def _winner_changed(old: Array, new: Array) -> bool:
    return not bool(((old >= old.max() - _EQUAL) & (new >= new.max() - _EQUAL)).any())
