"""Training on votes: who trains, what is measured, and when to stop."""

from types import SimpleNamespace

import numpy as np
import pytest

from fettle_graders.grade import Grade, Vote
from fettle_workers.engine.evaluate import scores_of
from fettle_workers.engine.rollout import Rollout
from fettle_workers.engine.sample_step import reward_table
from fettle_workers.engine.vote import VoteWatch


def rollout(score, **vote):
    grade = Grade(score, vote=Vote(**vote))
    return Rollout("train", 1, 0, 0.0, SimpleNamespace(), 0, SimpleNamespace(), SimpleNamespace(), grade)


def group(share, right=None, size=4):
    return [rollout(1.0, share=share, winner_is_right=right) for _ in range(size)]


def test_completions_that_only_vote_count_in_no_mean():
    rollouts = [rollout(1.0, share=0.5), rollout(0.0, share=0.5), rollout(1.0, share=0.5, trains=False)]
    assert np.array_equal(reward_table([rollouts]), [[1.0, 0.0, np.nan]], equal_nan=True)


def test_an_evaluation_measures_truth_where_a_label_is_known_and_agreement_elsewhere():
    labelled = [rollout(1.0, share=1.0, is_right=False), rollout(0.0, share=1.0, is_right=True)]
    assert scores_of([labelled, [rollout(1.0, share=1.0)]]) == [[0.0, 1.0], [1.0]]


def watched(*observed):
    watch = VoteWatch()
    for share, right in observed:
        watch.observe([group(share, right)])
    return watch


def test_averages_move_over_groups():
    # 0.5, then 0.9 * 0.5 + 0.1 * 1 = 0.55.
    watch = watched((0.5, True), (1.0, None))
    assert watch.share == pytest.approx(0.55)
    assert (watch.canary, watch.num_canaries) == (1.0, 1)


def test_agreement_that_rises_while_labelled_rows_get_worse_stops_the_job():
    """Canaries right for 20 groups, then wrong: 0.9^2 = 0.81 is 0.19 below the best, beyond the 0.1 allowed."""
    good = [(0.95, True)] * 20
    assert watched(*good).reason_to_stop() is None
    assert watched(*good, (1.0, False)).reason_to_stop() is None  # 0.9: not more than 0.1 worse
    reason = watched(*good, (1.0, False), (1.0, False)).reason_to_stop()
    assert reason is not None
    assert "81% of the labelled rows, after 100% at best" in reason


def test_worse_canaries_alone_or_agreement_alone_stop_nothing():
    assert watched(*[(0.6, True)] * 20, *[(0.6, False)] * 10).reason_to_stop() is None
    assert watched(*[(1.0, True)] * 40).reason_to_stop() is None
    assert watched(*[(1.0, None)] * 40).reason_to_stop() is None


def test_a_few_canaries_are_no_evidence():
    assert watched(*[(1.0, True)] * 4, *[(1.0, False)] * 8).reason_to_stop() is None
