"""Selection, by worked numbers and by simulation where the truth is known."""

import math

import numpy as np
import pytest

from fettle_workers.engine import select as rule
from fettle_workers.engine.select import (
    Scored,
    corrected_gain,
    finalists,
    judge,
    may_claim,
    measure_gain,
    paired_difference,
    report_split,
)

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
    assert [one.standing for one in judged] == ["worse", "tied", "best"]
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
    base, ill = scored(0, [0.0, 0.1], 0.0), scored(10, [1.0, 1.0], 0.1, illness="cut off")
    far = scored(20, [1.0, 1.0], 0.9)
    chosen, judged = judge([base, ill, far], kl_budget_nats=0.5)
    assert chosen == 0
    assert [one.standing for one in judged] == ["best", "unfit", "unfit"]
    assert "cut off" in judged[1].reason
    assert "over the budget of 0.500" in judged[2].reason


def test_a_candidate_without_any_grade_is_not_chosen():
    assert judge([scored(0, [0.1, 0.2], 0.0), scored(5, [math.nan] * 2, 0.1)], kl_budget_nats=NO_BUDGET)[0] == 0


def test_many_rows_are_split_in_two_and_few_are_not():
    select, report = report_split(31, num_train=70)
    assert not set(select) & set(report)
    assert (len(select), len(report)) == (16, 15)
    assert report_split(31, num_train=69) == (list(range(31)), list(range(31)))  # 100 rows in all
    assert report_split(29, num_train=500) == (list(range(29)), list(range(29)))


def test_finalists_are_the_base_the_best_the_near_and_then_the_high():
    steps = [
        scored(0, [0.0, 0, 0, 0], 0.0),
        scored(1, [0.9, 0.9, 0.9, 0.8], 0.1),  # more than one standard error below the best, lower than step 2
        scored(2, [0.9, 0.9, 0.9, 0.9], 0.2),
        scored(3, [1.0, 1, 1, 0.9], 0.3),
        scored(4, [1.0, 1, 1, 1], 0.4),
        scored(5, [1.0, 1, 1, 0.95], 0.5),
        scored(6, [1.0, 1, 1, 1], 0.6, illness="ill"),
    ]
    assert finalists(steps, kl_budget_nats=NO_BUDGET, num=3) == [0, 3, 4]
    assert finalists(steps, kl_budget_nats=NO_BUDGET, num=5) == [0, 2, 3, 4, 5]
    assert finalists(steps, kl_budget_nats=NO_BUDGET, num=9) == [0, 1, 2, 3, 4, 5]


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


@pytest.mark.parametrize(("num_items", "height", "spread"), [(20, 0.1, 0.1), (40, 0.1, 0.25), (60, 0.05, 0.1)])
def test_the_corrected_bounds_cover_what_the_choice_is_worth(num_items, height, spread, monkeypatch):
    """Chosen and measured on the same items; the truth is the chosen candidate's gain over all items there are."""
    monkeypatch.setattr(rule, "NUM_RESAMPLES", 300)
    rng = np.random.default_rng(num_items)
    gains = [0.0, height / 2, height, height, height]
    truths = [0.0] + [population_gain(gain, spread) for gain in gains[1:]]
    trials, one_sided, naive, two_sided, errors = 600, 0, 0, 0, []
    for trial in range(trials):
        candidates = many_answers(rng, num_items, gains, spread)
        step, _ = judge(candidates, kl_budget_nats=NO_BUDGET)
        truth = truths[step // 10]
        gain = corrected_gain(candidates, kl_budget_nats=NO_BUDGET, seed=trial)
        plain = measure_gain(candidates[step // 10].scores, candidates[0].scores, seed=trial, num_resamples=300)
        one_sided += gain.lower_bound <= truth
        naive += plain.lower_bound <= truth
        two_sided += gain.low <= truth <= gain.high
        errors.append(gain.mean - truth)
    assert one_sided / trials == pytest.approx(0.95, abs=0.025)
    assert two_sided / trials == pytest.approx(0.95, abs=0.03)
    assert naive / trials < 0.92  # what the correction is for
    assert abs(np.mean(errors)) < 0.01


def many_answers(rng, num_items, gains, spread):
    chance = rng.uniform(0.1, 0.6, num_items)
    effects = [0 if step == 0 else gain + rng.normal(0, spread, num_items) for step, gain in enumerate(gains)]
    return [scored(10 * k, binary_scores(rng, chance + effect, 16), 0.05 * k) for k, effect in enumerate(effects)]


def population_gain(gain, spread):
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.1, 0.6, 400_000)
    return float((np.clip(chance + gain + rng.normal(0, spread, 400_000), 0, 1) - chance).mean())


@pytest.mark.parametrize("num_items", [5, 8, 12, 30])
def test_few_rows_that_gain_nothing_are_called_improved_in_at_most_5_of_100_cases(num_items, monkeypatch):
    monkeypatch.setattr(rule, "NUM_RESAMPLES", 300)
    rng = np.random.default_rng(num_items)
    trials = 500
    claims = sum(
        corrected_gain(many_answers(rng, num_items, [0.0] * 6, 0.05), kl_budget_nats=NO_BUDGET, seed=trial).lower_bound
        > 0
        for trial in range(trials)
    )
    assert claims / trials <= 0.05 + 0.02


def test_the_rule_on_resamples_is_the_rule():
    """The fast form that chooses on many resamples at once agrees with `judge` on each of them."""
    rng = np.random.default_rng(5)
    candidates = many_answers(rng, 12, [0.0, 0.05, 0.1, 0.1], 0.2)
    candidates[2].scores[3] = math.nan
    picks = rng.integers(0, 12, (200, 12))
    weights = np.array([np.bincount(row, minlength=12) for row in picks], dtype=float)
    chosen = rule._chosen_on(weights, candidates)
    for row, position in zip(picks, chosen, strict=True):
        resampled = [Scored(one.step, one.scores[row], one.kl_nats) for one in candidates]
        assert judge(resampled, kl_budget_nats=NO_BUDGET)[0] == candidates[position].step


def test_the_correction_takes_off_what_luck_added():
    # Two candidates, each good on one half of the items: chosen where one half is drawn more often, paid on the rest.
    base = scored(0, [0.0] * 8, 0.0)
    first, second = scored(1, [1.0] * 4 + [0.0] * 4, 0.1), scored(2, [0.0] * 4 + [1.1] * 4, 0.2)
    assert judge([base, first, second], kl_budget_nats=NO_BUDGET)[0] == 1
    assert 0.3 < corrected_gain([base, first, second], kl_budget_nats=NO_BUDGET, seed=1).mean < 0.45  # not 0.5
