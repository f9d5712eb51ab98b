import math

import numpy as np
import pytest

from fettle_workers.engine.advantage import group_advantages, kl_push, length_penalty, overlong_penalty

NAN = math.nan


def test_equal_rewards_give_zero_advantage():
    found = group_advantages(np.array([[1.0, 1, 1, 1]]), None)
    assert found.values_GK.tolist() == [[0, 0, 0, 0]]
    assert found.informative_G.tolist() == [False]
    assert found.scale is None  # nothing was learned about the spread of rewards


def test_rewards_are_centred_on_their_group_and_divided_by_the_pooled_deviation():
    # [1, 0, 0, 1]: mean 0.5, deviations +-0.5, pooled standard deviation 0.5.
    found = group_advantages(np.array([[1.0, 0, 0, 1]]), None)
    assert found.values_GK.tolist() == [[1, -1, -1, 1]]
    assert found.scale == 0.5


def test_all_groups_share_one_divisor():
    # Deviations 0.5 and 0.1: the pooled standard deviation is sqrt((0.25 + 0.01) / 2) = 0.36056.
    found = group_advantages(np.array([[1.0, 0], [0.6, 0.4]]), None)
    assert found.scale == pytest.approx(math.sqrt(0.13))
    assert found.values_GK[1, 0] / found.values_GK[0, 0] == pytest.approx(0.2)


def test_a_flat_group_does_not_shrink_the_divisor():
    assert group_advantages(np.array([[1.0, 0], [1, 1]]), None).scale == 0.5


def test_the_divisor_moves_slowly():
    # 0.9 * 0.5 + 0.1 * 1.5 = 0.6; the deviation 1.5 over 0.6 is 2.5.
    found = group_advantages(np.array([[3.0, 0]]), 0.5)
    assert found.scale == pytest.approx(0.6)
    assert found.values_GK.tolist() == [[pytest.approx(2.5), pytest.approx(-2.5)]]


def test_the_divisor_has_a_floor():
    found = group_advantages(np.array([[1e-4, 0.0]]), None)
    assert found.values_GK[0, 0] == pytest.approx(5e-5 / 1e-3)


def test_a_failed_grade_counts_in_no_mean_and_gets_no_push():
    # Mean of the graded [1, 0] is 0.5; with a zero for the failure it would be 1/3.
    found = group_advantages(np.array([[1.0, 0.0, NAN]]), None)
    assert found.values_GK.tolist() == [[1, -1, 0]]
    assert found.std_G.tolist() == [0.5]


def test_one_grade_alone_teaches_nothing():
    assert not group_advantages(np.array([[1.0, NAN], [NAN, NAN]]), None).informative_G.any()


def test_rounding_noise_is_not_a_difference():
    assert not group_advantages(np.array([[0.3, 0.1 + 0.2]]), None).informative_G.any()


def test_scale_of_rewards_does_not_matter():
    rewards = np.array([[1.0, 0, 0.5], [0.2, 0.9, 0.1]])
    small, large = group_advantages(rewards, None), group_advantages(1000 * rewards + 7, None)
    assert large.values_GK == pytest.approx(small.values_GK)


def test_long_completions_pay_in_the_last_fifth_of_the_budget():
    assert overlong_penalty(np.array([10, 80, 90, 100]), 100).tolist() == [0, 0, 0.5, 1]


def test_length_costs_in_proportion_to_the_pass_rate_and_not_in_flat_groups():
    # Rewards lie between 0 and 2 in this job. Pass rates: 1.5 / 2, 0.5 / 2, flat.
    rewards = np.array([[2.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    lengths = np.array([[10, 40], [40, 20], [10, 40]])
    found = length_penalty(lengths, rewards, lowest=0.0, highest=2.0)
    assert found.tolist() == [[0.75 * 0.25, 0.75], [0.25, 0.25 * 0.5], [0, 0]]
    assert not length_penalty(lengths, rewards, lowest=2.0, highest=2.0).any()


def test_an_ungraded_completion_has_no_part_in_the_pass_rate():
    found = length_penalty(np.array([[10, 20, 20]]), np.array([[1.0, 0.0, NAN]]), lowest=0.0, highest=1.0)
    assert found.tolist() == [[0.25, 0.5, 0.5]]


def test_kl_push_is_centred():
    # k1 = [0.3, 0.1], mean 0.2: the first token pays 0.1 * 0.1, the second is paid as much.
    assert kl_push(np.array([1.0, 1.0]), np.array([0.3, 0.1]), 0.1) == pytest.approx([0.99, 1.01])
