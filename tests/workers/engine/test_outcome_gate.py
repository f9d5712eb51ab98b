"""The outcome gate: groups in which nothing truly succeeded teach nothing."""

import math
from types import SimpleNamespace

import numpy as np

from fettle_graders.grade import Grade
from fettle_workers.engine.advantage import group_advantages
from fettle_workers.engine.rollout import Rollout
from fettle_workers.engine.sample_step import reward_table


def rollout(reward, outcome=None):
    grade = Grade(score=reward, outcome=outcome)
    return Rollout("train", 1, 0, 0.0, SimpleNamespace(), 0, SimpleNamespace(), SimpleNamespace(), grade)


def advantages(groups):
    return group_advantages(reward_table(groups), None)


def test_partial_credit_without_any_true_outcome_gives_no_advantage():
    """Rewards 0.2 and 0.6 in both groups, a true outcome in the second only: its mean 0.4, deviations and scale 0.2."""
    shut = [rollout(0.2, outcome=0.0), rollout(0.6, outcome=0.0)]
    reached = [rollout(0.2, outcome=0.0), rollout(0.6, outcome=1.0)]
    found = advantages([shut, reached])
    assert np.allclose(found.values_GK, [[0, 0], [-1, 1]])
    assert found.informative_G.tolist() == [False, True]
    assert math.isclose(found.scale, 0.2)  # and the shut group does not move it


def test_a_failed_grade_neither_opens_nor_shuts_the_gate():
    found = advantages([[rollout(0.2, outcome=0.5), rollout(None), rollout(0.6, outcome=0.0)]])
    assert found.informative_G.tolist() == [True]
    assert advantages([[rollout(None), rollout(0.5, outcome=0.0)]]).informative_G.tolist() == [False]


def test_a_negative_outcome_is_not_a_success():
    assert advantages([[rollout(0.2, outcome=-1.0), rollout(0.6, outcome=0.0)]]).informative_G.tolist() == [False]


def test_without_a_named_outcome_there_is_no_gate():
    assert advantages([[rollout(0.2), rollout(0.6)]]).informative_G.tolist() == [True]
