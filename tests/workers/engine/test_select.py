"""Selection, by worked numbers and by simulation where the truth is known."""

import math

import numpy as np
import pytest

from fettle_workers.engine.select import Scored, judge, may_claim, measure_gain, paired_difference, report_split

NO_BUDGET = math.inf


def scored(step, scores, kl, **more):
    return Scored(step, np.array(scores, dtype=float), kl, **more)


def test_paired_difference_by_hand():
    # Differences 1, 0, 2: mean 1, standard deviation 1, standard error 1 / sqrt(3).
    mean, error = paired_difference(np.array([2.0, 1, 3]), np.array([1.0, 1, 1]))
    assert (mean, error) == (1, pytest.approx(1 / math.sqrt(3)))


def test_items_that_one_side_lacks_are_left_out():
    assert paired_difference(np.array([2.0, math.nan, 3]), np.array([1.0, 1, math.nan]))[0] == 1


def test_within_one_standard_error_the_nearest_to_the_base_wins():
    base = scored(0, [0.0, 0, 0, 0], 0.0)
    near = scored(10, [1.0, 1, 1, 0.0], 0.1)  # 0.25 below the best, standard error 0.25
    best = scored(20, [1.0, 1, 1, 1], 0.4)
    chosen, judged = judge([base, near, best], kl_budget_nats=NO_BUDGET)
    assert chosen == 10
    assert [one.eligible for one in judged] == [False, True, True]
    assert "within one standard error of 0.2500" in judged[1].reason


def test_more_than_one_standard_error_below_is_not_eligible():
    far = scored(10, [0.5, 0.5, 0.5, 0.4], 0.1)
    best = scored(20, [1.0, 1, 1, 1], 0.4)
    assert judge([scored(0, [0.0] * 4, 0.0), far, best], kl_budget_nats=NO_BUDGET)[0] == 20


def test_step_0_wins_when_nothing_is_better():
    same = [0.2, 0.9, 0.4]
    assert judge([scored(0, same, 0.0), scored(10, same, 0.2)], kl_budget_nats=NO_BUDGET)[0] == 0


def test_ties_in_kl_go_to_the_earlier_step():
    best = [1.0, 1, 1]
    assert (
        judge([scored(0, [0.0] * 3, 0.0), scored(20, best, 0.1), scored(10, best, 0.1)], kl_budget_nats=NO_BUDGET)[0]
        == 10
    )


def test_unhealthy_and_far_checkpoints_cannot_be_chosen():
    base, ill = scored(0, [0.0, 0.1], 0.0), scored(10, [1.0, 1.0], 0.1, healthy=False)
    far = scored(20, [1.0, 1.0], 0.9)
    chosen, judged = judge([base, ill, far], kl_budget_nats=0.5)
    assert chosen == 0
    assert "unhealthy" in judged[1].reason
    assert "over the budget of 0.500" in judged[2].reason


def test_a_candidate_without_any_grade_is_not_chosen():
    assert judge([scored(0, [0.1, 0.2], 0.0), scored(5, [math.nan] * 2, 0.1)], kl_budget_nats=NO_BUDGET)[0] == 0


def test_many_rows_are_split_in_two_and_few_are_not():
    select, report = report_split(41)
    assert not set(select) & set(report)
    assert (len(select), len(report)) == (21, 20)
    assert report_split(39) == (list(range(39)), list(range(39)))


def test_claims_need_five_rows_that_were_held_out():
    assert may_claim(5, in_sample=False)
    assert not may_claim(4, in_sample=False)
    assert not may_claim(100, in_sample=True)


def test_gain_of_identical_scores_is_zero_and_has_no_width():
    same = np.array([0.5, 0.1, 0.9])
    gain = measure_gain(same, same, seed=1)
    assert (gain.mean, gain.low, gain.high, gain.lower_bound) == (0, 0, 0, 0)


def binary_scores(rng, chance, samples):
    """Item means of yes-or-no rewards."""
    return rng.binomial(samples, np.clip(chance, 0, 1)) / samples


@pytest.mark.parametrize(("num_items", "truth"), [(12, 0.1), (30, 0.1), (100, 0.05)])
def test_the_bounds_cover_the_truth_95_times_in_100(num_items, truth):
    rng = np.random.default_rng(num_items)
    trials, one_sided, two_sided = 2000, 0, 0
    for trial in range(trials):
        chance = rng.uniform(0.1, 0.7, num_items)
        effect = truth + rng.uniform(-0.2, 0.2, num_items)  # items differ in what they gain; the mean is `truth`
        base, better = binary_scores(rng, chance, 8), binary_scores(rng, chance + effect, 8)
        gain = measure_gain(better, base, seed=trial, num_resamples=500)
        one_sided += gain.lower_bound <= truth
        two_sided += gain.low <= truth <= gain.high
    assert one_sided / trials == pytest.approx(0.95, abs=0.02)
    assert two_sided / trials == pytest.approx(0.95, abs=0.02)


def training_run(rng, num_items, gains):
    """Candidates of a run whose true gain at each evaluation is known; later steps are further from the base."""
    chance = rng.uniform(0.1, 0.6, num_items)
    candidates = []
    for index, gain in enumerate(gains):
        effect = 0 if index == 0 else gain + rng.normal(0, 0.1, num_items)
        candidates.append(scored(10 * index, binary_scores(rng, chance + effect, 4), 0.05 * index))
    return chance, candidates


def test_a_run_without_gain_is_called_improved_in_at_most_5_of_100_cases():
    rng = np.random.default_rng(0)
    trials, claims = 600, 0
    for trial in range(trials):
        _, candidates = training_run(rng, 50, [0.0] * 12)
        step, _ = judge(candidates, kl_budget_nats=NO_BUDGET)
        if step:  # measured anew on other rows
            fresh = rng.uniform(0.1, 0.6, 50)
            effect = rng.normal(0, 0.1, 50)
            gain = measure_gain(
                binary_scores(rng, fresh + effect, 16), binary_scores(rng, fresh, 16), seed=trial, num_resamples=500
            )
            claims += gain.lower_bound > 0
    assert claims / trials <= 0.05 + 0.02


def test_the_rule_loses_less_than_taking_the_highest_mean():
    """Runs that gain nothing or spoil the model with time: what is delivered, against the best there was."""
    rng = np.random.default_rng(1)
    lost_by_rule, lost_by_maximum = [], []
    for _ in range(300):
        height = rng.choice([0.0, 0.0, 0.25])
        gains = [0.0] + [height * min(1, k / 3) - 0.012 * max(0, k - 3) for k in range(1, 12)]
        _, candidates = training_run(rng, 30, gains)
        chosen, _ = judge(candidates, kl_budget_nats=NO_BUDGET)
        maximum = max(candidates, key=lambda one: one.scores.mean()).step
        lost_by_rule.append(max(gains) - gains[chosen // 10])
        lost_by_maximum.append(max(gains) - gains[maximum // 10])
    assert np.mean(lost_by_rule) < np.mean(lost_by_maximum)
