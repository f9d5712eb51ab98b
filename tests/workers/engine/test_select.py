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


def test_the_highest_mean_wins_and_who_is_near_it_is_told():
    base = scored(0, [0.0, 0, 0, 0], 0.0)
    near = scored(10, [1.0, 1, 1, 0.0], 0.1)  # 0.25 below the best, standard error 0.25
    far = scored(15, [0.5, 0.5, 0.5, 0.4], 0.1)
    best = scored(20, [1.0, 1, 1, 1], 0.4)
    chosen, judged = judge([base, near, far, best], kl_budget_nats=NO_BUDGET)
    assert chosen == 20
    assert [one.standing for one in judged] == ["worse", "tied", "worse", "best"]
    assert [one.eligible for one in judged] == [False, True, False, True]
    assert judged[1].reason == "0.2500 below the best, within one standard error of 0.2500"


def test_of_equal_means_the_nearest_to_the_base_wins():
    near, far = scored(20, [0.3, 0.2, 0.1], 0.1), scored(10, [0.1, 0.2, 0.3], 0.2)
    assert near.scores.mean() < far.scores.mean()  # by the last bit
    assert judge([scored(0, [0.0] * 3, 0.0), near, far], kl_budget_nats=NO_BUDGET)[0] == 20


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
    select, report = report_split(201)
    assert not set(select) & set(report)
    assert (len(select), len(report)) == (101, 100)
    assert report_split(199) == (list(range(199)), list(range(199)))


def test_finalists_are_the_base_and_the_highest_that_may_be_delivered():
    steps = [
        scored(0, [0.0, 0, 0, 0], 0.0),
        scored(1, [0.9, 0.9, 0.9, 0.8], 0.1),
        scored(2, [0.9, 0.9, 0.9, 0.9], 0.2),
        scored(3, [1.0, 1, 1, 0.9], 0.3),
        scored(4, [1.0, 1, 1, 1], 0.4),
        scored(5, [1.0, 1, 1, 0.95], 0.5),
        scored(6, [1.0, 1, 1, 1], 0.6, illness="ill"),
    ]
    assert finalists(steps, kl_budget_nats=NO_BUDGET, num=3) == [0, 4, 5]
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
    # Differences 1, 1, 1, 1, 6: mean 2, standard deviation sqrt(5), error 1; skewness 1.5, without its bias sqrt(5),
    # over sqrt(5): a lean of 1. Of t with 4 degrees: 2.1318 and 2.7764. Half of the lean moves a bound below, twice
    # of it above: 2.1318 - (1 + 2 x 2.1318^2) / 12 = 1.2911, 2.7764 - (1 + 2 x 2.7764^2) / 12 = 1.4083 and
    # 2.7764 + (1 + 2 x 2.7764^2) / 3 = 8.2488.
    gain = measure_gain(np.array([1.0, 1, 1, 1, 6]), np.zeros(5))
    assert gain.mean == 2
    assert gain.lower_bound == pytest.approx(2 - 1.2911, abs=5e-3)
    assert gain.low == pytest.approx(2 - 1.4083, abs=5e-3)
    assert gain.high == pytest.approx(2 + 8.2488, rel=5e-3)
    turned = measure_gain(np.zeros(5), np.array([1.0, 1, 1, 1, 6]))
    assert (turned.low, turned.high) == (pytest.approx(-gain.high), pytest.approx(-gain.low))


def test_a_lean_away_counts_only_where_five_rows_differ():
    # Differences 0, 0, 0, 2: mean 0.5, error 0.5, skewness 2 / sqrt(3), without its bias 2, over sqrt(4): a lean of 1.
    # Below stays Student's t of 3 degrees, 2.3534; above it is 3.1824 + (1 + 2 x 3.1824^2) / 3 = 10.268.
    gain = measure_gain(np.array([0.0, 0, 0, 2]), np.zeros(4))
    assert gain.lower_bound == pytest.approx(0.5 - 0.5 * 2.3534, abs=2e-3)
    assert gain.high == pytest.approx(0.5 + 0.5 * 10.268, rel=5e-3)


def uneven_rows(rng, num_items):
    """Rows differ in what they gain; the mean is 0.1."""
    chance = rng.uniform(0.1, 0.7, num_items)
    return chance, chance + 0.1 + rng.uniform(-0.2, 0.2, num_items)


def mostly_solved(rng, num_items):
    """Seven rows in ten come to be solved, one is unlearned: most of the differences are high, some are far below."""
    chance, turn = rng.beta(1.5, 2.5, num_items), rng.random(num_items)
    return chance, np.where(turn < 0.7, 0.95, np.where(turn > 0.9, 0.2 * chance, chance))


def partly_solved(rng, num_items):
    chance, turn = rng.beta(1.5, 2.5, num_items), rng.random(num_items)
    return chance, np.where(turn < 0.3, 0.95, chance)


def rarely_solved(rng, num_items):
    """One row in ten comes to be solved: the others' differences are noise."""
    chance, turn = rng.beta(0.5, 4, num_items), rng.random(num_items)
    return chance, np.where(turn < 0.1, 0.9, chance)


def unmoved(rng, num_items):
    chance = rng.uniform(0.1, 0.7, num_items)
    return chance, chance


def tenth_unlearned(rng, num_items):
    """The others gain 0.1: most of the differences are alike, a few are far below."""
    chance = rng.uniform(0.5, 0.9, num_items)
    return chance, np.where(rng.random(num_items) < 0.1, 0.1 * chance, chance + 0.1)


@pytest.mark.parametrize(
    ("rows", "num_items"),
    [
        *[(rows, num) for rows in (uneven_rows, mostly_solved, partly_solved, rarely_solved) for num in (20, 60)],
        (unmoved, 20),
        (tenth_unlearned, 60),
    ],
)
def test_the_bounds_cover_the_truth_95_times_in_100(rows, num_items):
    """Within 0.02, four standard errors of a share of 0.95 in 2000 jobs."""
    rng, truth, trials = np.random.default_rng(num_items), population_mean(rows), 2000
    gains = [measured(rng, *rows(rng, num_items), answers=8) for _ in range(trials)]
    one_sided = sum(gain.lower_bound <= truth for gain in gains) / trials
    two_sided = sum(gain.low <= truth <= gain.high for gain in gains) / trials
    if rows is rarely_solved and num_items == 20:  # of which none is one of the tenth in 12 of 100 jobs
        assert one_sided >= 0.93
        assert two_sided >= 0.87
    else:
        assert one_sided == pytest.approx(0.95, abs=0.02)
        assert two_sided == pytest.approx(0.95, abs=0.02)


def population_mean(rows):
    chance, after = rows(np.random.default_rng(0), 400_000)
    return float((after - chance).mean())


def measured(rng, chance, after, *, answers):
    return measure_gain(binary_scores(rng, after, answers), binary_scores(rng, chance, answers))


@pytest.mark.parametrize("share", [0.02, 0.05])
def test_a_few_rows_that_change_either_way_prove_nothing(share):
    """Most differences are 0, as many rows gain 1 as lose 1: a lean in so few is chance and no proof."""
    rng, trials = np.random.default_rng(1), 2000
    draws = rng.random((trials, 40))
    differences = (draws < share).astype(float) - (draws > 1 - share)
    claims = sum(measure_gain(row, np.zeros(40)).lower_bound > 0 for row in differences)
    assert claims / trials <= 0.05 + 0.015  # three standard errors of 0.05 in 2000


def test_a_run_without_gain_is_called_improved_in_at_most_5_of_100_cases():
    """Measured on rows that chose nothing."""
    rng, trials = np.random.default_rng(0), 600
    claims = 0
    for _ in range(trials):
        chance = rng.uniform(0.1, 0.6, 50)
        claims += measured(rng, chance, chance + rng.normal(0, 0.1, 50), answers=16).lower_bound > 0
    assert claims / trials <= 0.05 + 0.02


def test_the_rule_loses_less_than_taking_the_highest_mean(monkeypatch):
    """Runs that spoil the model from the start or with time: what is delivered, against the best there was."""
    monkeypatch.setattr(rule, "NUM_RESAMPLES", 200)
    rng = np.random.default_rng(1)
    lost_by_rule, lost_by_maximum = [], []
    for trial in range(150):
        height = rng.choice([0.0, 0.0, 0.25])
        gains = [0.0] + [height * min(1, k / 3) - 0.012 * max(0, k - 3) for k in range(1, 12)]
        finals, others, maximum = narrowed(rng, 30, gains, 0.1)
        chosen, _ = judge(finals, kl_budget_nats=NO_BUDGET)
        gain = corrected_gain(finals, kl_budget_nats=NO_BUDGET, seed=trial, others=others)
        delivered = chosen if gain.lower_bound > 0 else 0
        lost_by_rule.append(max(gains) - gains[delivered // 10])
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
        finals, others, _ = narrowed(rng, num_items, gains, spread)
        step, _ = judge(finals, kl_budget_nats=NO_BUDGET)
        truth = truths[gains[step // 10]]
        gain = corrected_gain(finals, kl_budget_nats=NO_BUDGET, seed=trial, others=others)
        chosen = next(one for one in finals if one.step == step)
        one_sided += gain.lower_bound <= truth
        naive += measure_gain(chosen.scores, finals[0].scores).lower_bound <= truth
        two_sided += gain.low <= truth <= gain.high
        errors.append(gain.mean - truth)
    assert one_sided / trials == pytest.approx(0.95, abs=0.02)
    assert 0.93 <= two_sided / trials <= 0.985  # the upper end is cautious
    assert naive / trials < 0.90  # what the correction is for
    assert abs(np.mean(errors)) < 0.015


def narrowed(rng, num_items, gains, spread):
    """Twelve candidates with 8 answers an item: five finalists with 8 more each, and those left behind. Half of what
    sets an item apart stays with it from candidate to candidate. And the step of the highest mean before that."""
    chance, own = rng.uniform(0.1, 0.6, num_items), rng.normal(0, spread / 2**0.5, num_items)
    effects = [0 * own] + [gain + own + rng.normal(0, spread / 2**0.5, num_items) for gain in gains[1:]]
    every = [scored(10 * k, binary_scores(rng, chance + effect, 8), 0.05 * k) for k, effect in enumerate(effects)]
    steps = finalists(every, kl_budget_nats=NO_BUDGET, num=5)
    finals = [
        scored(one.step, (one.scores + binary_scores(rng, chance + effect, 8)) / 2, one.kl_nats)
        for one, effect in zip(every, effects, strict=True)
        if one.step in steps
    ]
    highest = max(every, key=lambda one: one.scores.mean())
    return finals, [one for one in every if one.step not in steps], highest.step


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
    """Two candidates, each good on one half of the items: chosen where its half is drawn more often, paid on the rest.

    With k of 8 draws from the first half the choice looks like max(k, 1.1 (8 - k)) / 8 and is 0.5 or 0.55: on average
    36.75 / 256 = 0.1436 too good. 1.35 of that comes off 0.55.
    """
    base = scored(0, [0.0] * 8, 0.0)
    first, second = scored(1, [1.0] * 4 + [0.0] * 4, 0.1), scored(2, [0.0] * 4 + [1.1] * 4, 0.2)
    assert judge([base, first, second], kl_budget_nats=NO_BUDGET)[0] == 2
    gain = corrected_gain([base, first, second], kl_budget_nats=NO_BUDGET, seed=1)
    assert gain.mean == pytest.approx(0.55 - 1.35 * 0.1436, abs=0.01)
    naive = measure_gain(second.scores, base.scores)
    assert naive.lower_bound - gain.lower_bound == pytest.approx(1.35 * 0.1436, abs=0.01)
    assert naive.high - gain.high == pytest.approx(0.1436, abs=0.01)  # the upper end is cautious the other way


def test_those_left_behind_are_taken_to_be_as_sure_as_the_finalists():
    """Differences to the best: 1, -1 of a finalist; 2.5, -1.5 of one left behind. Same mean, and half the spread."""
    base, best = scored(0, [0.0, 9.0], 0.0), scored(1, [1.0, 2.0], 0.1)
    near = scored(2, [2.0, 1.0], 0.1)
    wide, narrow = scored(3, [3.5, 0.5], 0.1), scored(4, [1.5, 1.5], 0.1)
    found = rule._as_sure([wide, narrow], [best, near, base])
    assert [one.scores.tolist() for one in found] == [[2.5, 1.5], [1.5, 1.5]]
