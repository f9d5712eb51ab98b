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
    gain = measure_gain(same, same)
    assert (gain.mean, gain.low, gain.high, gain.lower_bound) == (0, 0, 0, 0)


def binary_scores(rng, chance, samples):
    """Item means of yes-or-no rewards."""
    return rng.binomial(samples, np.clip(chance, 0, 1)) / samples


def test_bounds_by_hand():
    # Differences 0, 0, 0, 2: mean 0.5, standard deviation 1, error 0.5, skewness 2 / sqrt(3), over sqrt(4): 0.57735.
    # Student's t of 3 degrees: 2.3534 and 3.1824. Hall's points, 3 (cbrt(1 + a (t - a / 6)) - 1) / a:
    # 1.666 and 2.112 below, where t is the more cautious, and -10.20 above.
    gain = measure_gain(np.array([0.0, 0, 0, 2]), np.zeros(4))
    assert gain.mean == 0.5
    assert gain.lower_bound == pytest.approx(0.5 - 0.5 * 2.3534, abs=2e-3)
    assert gain.low == pytest.approx(0.5 - 0.5 * 3.1824, abs=5e-3)
    assert gain.high == pytest.approx(0.5 + 0.5 * 10.20, rel=0.01)
    # Turned over, the long side is below: Hall's point for 2.3534 is 9.070 there.
    below = measure_gain(np.array([0.0, 0, 0, -2]), np.zeros(4))
    assert below.lower_bound == pytest.approx(-0.5 - 0.5 * 9.070, rel=0.01)


def uneven_rows(rng, num_items):
    """Rows differ in what they gain; the mean is 0.1."""
    chance = rng.uniform(0.1, 0.7, num_items)
    return chance, chance + 0.1 + rng.uniform(-0.2, 0.2, num_items)


def mostly_solved(rng, num_items):
    """Seven rows in ten come to be solved, one is unlearned: most of the differences are high, some are far below."""
    chance, turn = rng.beta(1.5, 2.5, num_items), rng.random(num_items)
    return chance, np.where(turn < 0.7, 0.95, np.where(turn > 0.9, 0.2 * chance, chance))


@pytest.mark.parametrize("num_items", [12, 30, 100])
@pytest.mark.parametrize("rows", [uneven_rows, mostly_solved])
def test_the_bounds_cover_the_truth_95_times_in_100(num_items, rows):
    rng = np.random.default_rng(num_items)
    chance, after = rows(rng, 400_000)
    truth, trials, one_sided, two_sided = float((after - chance).mean()), 3000, 0, 0
    for _ in range(trials):
        chance, after = rows(rng, num_items)
        gain = measure_gain(binary_scores(rng, after, 8), binary_scores(rng, chance, 8))
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
    for _ in range(trials):
        _, candidates = training_run(rng, 50, [0.0] * 12)
        step, _ = judge(candidates, kl_budget_nats=NO_BUDGET)
        if step:  # measured anew on other rows
            fresh = rng.uniform(0.1, 0.6, 50)
            effect = rng.normal(0, 0.1, 50)
            gain = measure_gain(binary_scores(rng, fresh + effect, 16), binary_scores(rng, fresh, 16))
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


@pytest.mark.parametrize(("num_items", "spread"), [(8, 0.1), (20, 0.1), (40, 0.25)])
def test_the_corrected_bounds_cover_what_the_choice_is_worth(num_items, spread, monkeypatch):
    """Narrowed down, chosen and measured on the same items; the truth is the chosen one's gain over all there are."""
    monkeypatch.setattr(rule, "NUM_RESAMPLES", 200)
    rng = np.random.default_rng(num_items)
    gains = [0.0, *(min(0.1, step / 40) for step in range(1, 12))]
    truths = {gain: population_gain(gain, spread) for gain in gains[1:]} | {0.0: 0.0}
    trials, one_sided, naive, two_sided, errors = 500, 0, 0, 0, []
    for trial in range(trials):
        finals, others = narrowed(rng, num_items, gains, spread)
        step, _ = judge(finals, kl_budget_nats=NO_BUDGET)
        truth = truths[gains[step // 10]]
        gain = corrected_gain(finals, kl_budget_nats=NO_BUDGET, seed=trial, others=others)
        chosen = next(one for one in finals if one.step == step)
        one_sided += gain.lower_bound <= truth
        naive += measure_gain(chosen.scores, finals[0].scores).lower_bound <= truth
        two_sided += gain.low <= truth <= gain.high
        errors.append(gain.mean - truth)
    assert one_sided / trials == pytest.approx(0.95, abs=0.02)
    assert two_sided / trials == pytest.approx(0.95, abs=0.02)
    assert naive / trials < 0.90  # what the correction is for
    assert abs(np.mean(errors)) < 0.015


def narrowed(rng, num_items, gains, spread):
    """Twelve candidates with 8 answers an item: five finalists with 8 more each, and those left behind. Half of what
    sets an item apart stays with it from candidate to candidate."""
    chance, own = rng.uniform(0.1, 0.6, num_items), rng.normal(0, spread / 2**0.5, num_items)
    effects = [0 * own] + [gain + own + rng.normal(0, spread / 2**0.5, num_items) for gain in gains[1:]]
    every = [scored(10 * k, binary_scores(rng, chance + effect, 8), 0.05 * k) for k, effect in enumerate(effects)]
    steps = finalists(every, kl_budget_nats=NO_BUDGET, num=5)
    finals = [
        scored(one.step, (one.scores + binary_scores(rng, chance + effect, 8)) / 2, one.kl_nats)
        for one, effect in zip(every, effects, strict=True)
        if one.step in steps
    ]
    return finals, [one for one in every if one.step not in steps]


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
