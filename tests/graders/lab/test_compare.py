"""Ranks, distributions, and two graders on the same answers, by hand."""

import math

import numpy as np
import pytest

from fettle_graders.lab.compare import Group, compare
from fettle_graders.lab.rank import ranks, spearman, spearman_estimate
from fettle_graders.lab.scores import describe, histogram, percentile


def group(old, new):
    return Group(np.array(old, float), np.array(new, float))


def test_ties_share_their_rank():
    assert ranks([10, 20, 20, 30]).tolist() == [1, 2.5, 2.5, 4]


def test_spearman_by_hand():
    # d = (0, 1, 1, 0) of ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * 2 / (4 * 15) = 0.8
    assert spearman([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(0.8)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))
    assert spearman_estimate([1, 1], [1, 2], ["a", "b"]) is None


def test_spearmans_bounds_resample_rows_and_not_answers():
    """Ten copies of one pair are one row: they must not make the bounds ten times as sure."""
    random = np.random.default_rng(0)
    x = random.normal(size=12)
    y = x + random.normal(size=12)
    alone = spearman_estimate(x, y, range(12))
    copied = spearman_estimate(np.repeat(x, 10), np.repeat(y, 10), np.repeat(np.arange(12), 10).tolist())
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.2)


def test_the_distribution_of_scores_by_hand():
    scores = describe([[0.0, 1.0], [0.5, 0.5], [1.0], []])
    assert scores.num_graded == 5
    assert scores.mean.value == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert scores.within_row_std == pytest.approx((math.sqrt(0.5) + 0) / 2)
    assert (scores.share_zero, scores.share_one, scores.median) == (0.2, 0.4, 0.5)
    assert sum(scores.histogram.counts) == 5
    assert (scores.histogram.counts[0], scores.histogram.counts[-1]) == (1, 2)
    assert describe([[], []]) is None


def test_bins_reach_as_far_as_the_scores():
    found = histogram([-1.0, 3.0], num_bins=4)
    assert found.edges == (-1.0, 0.0, 1.0, 2.0, 3.0)
    assert found.counts == (1, 0, 0, 1)
    assert percentile([1.0, 3.0], 50) == 2.0
    assert percentile([], 50) is None


def test_the_same_grader_changes_nothing():
    found = compare([group([0, 1, 1], [0, 1, 1]), group([0.5, 0.2], [0.5, 0.2])])
    assert found.spearman.value == pytest.approx(1)
    assert (found.changed_winners.value, found.flipped.value) == (0, 0)
    assert found.flipped.high == pytest.approx(3.841459 / (2 + 3.841459))  # no flip in two groups proves little
    assert (found.silenced, found.awakened, found.flips) == (0, 0, ())


def test_two_graders_by_hand():
    groups = [
        group([0, 1], [1, 0]),  # the winner changes, both advantages flip
        group([0, 1, 1], [0, 0, 1]),  # a winner stays; the second answer flips: +1/3 becomes -1/3
        group([0, 1], [1, 1]),  # told apart before only
        group([1, 1], [0, 1]),  # told apart now only
        group([0, math.nan], [1, 1]),  # one answer was never graded
    ]
    found = compare(groups)
    assert (found.num_groups, found.num_compared) == (5, 10)
    assert found.changed_winners.value == pytest.approx(1 / 2)
    # pushed before: 2 + 3 + 2 answers; flipped: 2 + 1
    assert found.flipped.value == pytest.approx(3 / 7)
    assert (found.silenced, found.awakened) == (1, 1)
    assert [(flip.group, flip.member) for flip in found.flips] == [(0, 0), (0, 1), (1, 1)]
    assert found.flips[0].old_advantage == pytest.approx(-0.5)
    assert found.flips[2].new_advantage == pytest.approx(-1 / 3)
    assert found.old_mean.value == pytest.approx((0.5 + 2 / 3 + 0.5 + 1 + 0) / 5)


def test_a_grader_that_grades_nothing_cannot_be_compared():
    assert compare([group([0, 1], [math.nan, math.nan])]) is None
