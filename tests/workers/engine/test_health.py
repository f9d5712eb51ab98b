import math

import pytest

from fettle_workers.engine.errors import JobFailed
from fettle_workers.engine.grade_log import GradeLog
from fettle_workers.engine.health import Finding, Health, Signs, judge_gap, judge_second_opinion
from fettle_workers.engine.penalties import EntropyFloor, KlControl, LengthControl
from fettle_workers.engine.stopping import EarlyStop


def action(finding):
    return finding.action if finding else None


def test_an_update_that_is_not_finite_is_skipped_and_the_third_in_20_rolls_back():
    health = Health()
    assert health.judge_update(1, loss=0.1, grad_norm=1.0) is None
    assert action(health.judge_update(2, loss=math.nan, grad_norm=1.0)) == "skip"
    assert action(health.judge_update(9, loss=0.1, grad_norm=math.inf)) == "skip"
    assert action(health.judge_update(15, loss=math.nan, grad_norm=1.0)) == "roll_back"
    assert health.judge_update(16, loss=0.1, grad_norm=1.0) is None


def test_bad_steps_far_apart_do_not_add_up():
    health = Health()
    found = [health.judge_update(step, loss=math.nan, grad_norm=1.0) for step in (1, 25, 50, 75)]
    assert list(map(action, found)) == ["skip"] * 4


def test_a_gradient_ten_times_the_usual_is_skipped_and_five_times_is_told():
    health = Health()
    for step in range(20):
        assert health.judge_update(step, loss=0.0, grad_norm=1.0) is None
    spike = health.judge_update(20, loss=0.0, grad_norm=10.5)
    assert (spike.action, spike.code, spike.values["usual_norm"]) == ("skip", "update_skipped", 1.0)
    high = health.judge_update(21, loss=0.0, grad_norm=9.5)
    assert (high.action, high.code) == ("tell", "grad_norm_high")


def test_a_sampler_of_another_distribution_is_told_from_a_hundredth_nat_and_undone_from_a_tenth():
    health = Health()
    assert health.judge_update(1, loss=0.0, grad_norm=1.0, mismatch_kl=0.009) is None
    assert action(health.judge_update(2, loss=0.0, grad_norm=1.0, mismatch_kl=0.02)) == "tell"
    assert action(health.judge_update(3, loss=0.0, grad_norm=1.0, mismatch_kl=0.2)) == "reload_sampler"


def test_one_standard_error_below_the_best_is_told_and_three_go_back_twice_and_then_end_it():
    health = Health()
    assert health.judge_evaluation(-0.05, 0.1) is None
    assert action(health.judge_evaluation(-0.2, 0.1)) == "tell"
    assert [action(health.judge_evaluation(-0.4, 0.1)) for _ in range(3)] == ["roll_back", "roll_back", "stop"]


def test_a_fifth_return_to_an_earlier_state_ends_the_run():
    health = Health()
    found = [health.judge_update(step, loss=0.0, grad_norm=1.0, mismatch_kl=1.0) for step in range(5)]
    assert list(map(action, found)) == ["reload_sampler"] * 4 + ["stop"]


def test_a_remark_is_told_at_its_1st_2nd_4th_time_and_an_action_always():
    health = Health()
    remark, act = Finding("a", "seen"), Finding("b", "done", "roll_back")
    assert [health.is_news(remark) for _ in range(8)] == [True, True, False, True, False, False, False, True]
    assert [health.is_news(act) for _ in range(3)] == [True] * 3


def steps(health, num_steps, **changed):
    """What the rules find in the last of some equal steps, or in the first that asks for a return."""
    usual = {
        "shortfall": 0.1, "entropy_nats": 1.0, "truncated_share": 0.0, "repeated_share": 0.02, "garbled_share": 0.0,
    }  # fmt: skip
    for _ in range(num_steps):
        found = health.observe_step(Signs(**usual | changed))
        if any(finding.action != "tell" for finding in found):
            break
    return [(finding.code, finding.action) for finding in found]


FALLING = {"shortfall": 2.0}


@pytest.mark.parametrize(
    ("sign", "alone", "with_falling_reward"),
    [
        ({"entropy_nats": 0.05}, [("entropy_collapsed", "tell")], [("entropy_collapsed", "roll_back")]),
        ({"entropy_nats": 2.0}, [], [("gibberish", "roll_back")]),
        ({"repeated_share": 0.5}, [("repetition", "tell")], [("repetition", "roll_back")]),
        ({"garbled_share": 0.5}, [("gibberish", "tell")], [("gibberish", "roll_back")]),
        ({"truncated_share": 0.9}, [], [("truncation", "roll_back")]),
        ({"repeated_share": 0.09}, [("repetition", "tell")], [("repetition", "tell")]),
        ({"entropy_nats": 0.4, "truncated_share": 0.25}, [], []),
    ],
)
def test_a_sign_is_told_alone_and_undone_when_reward_falls(sign, alone, with_falling_reward):
    health = Health()
    assert steps(health, 20) == []
    assert steps(health, 30, **sign) == alone
    health = Health()
    steps(health, 20)
    assert steps(health, 30, **sign, **FALLING) == with_falling_reward


def test_nothing_is_compared_before_there_are_20_first_steps():
    assert steps(Health(), 19, repeated_share=1.0, **FALLING) == []


def test_one_odd_step_is_not_a_sign():
    health = Health()
    steps(health, 30)
    assert steps(health, 1, entropy_nats=1.9, **FALLING) == []


def test_a_return_clears_what_was_seen_and_halves_the_rate():
    health = Health()
    steps(health, 20)
    steps(health, 20, entropy_nats=2.0, **FALLING)
    health.start_afresh()
    assert health.lr_scale == 0.5
    assert steps(health, 4, entropy_nats=2.0, **FALLING) == []
    assert steps(health, 1, entropy_nats=2.0, **FALLING) == [("gibberish", "roll_back")]


def test_training_reward_up_and_held_out_down_is_suspected_from_two_standard_errors():
    def gap(held_out, train=(0.5, 0.9)):
        found = judge_gap(train=train, held_out=held_out, standard_error=0.1, since_step=10)
        return found and found.code

    assert gap(-0.05) is None
    assert gap(-0.15) == "train_and_held_out_part"
    assert gap(-0.25) == "suspected_reward_hacking"
    assert gap(-0.25, train=(0.5, 0.5)) is None


def test_a_grader_beside_the_reward_that_falls_while_the_reward_rises_is_suspected_from_two_standard_errors():
    def opinion(change, gain=0.2):
        found = judge_second_opinion("tone", gain=gain, change=change, standard_error=0.1)
        return found and found.code

    assert opinion(-0.05) is None
    assert opinion(-0.15) == "second_grader_fell"
    assert opinion(-0.25) == "suspected_reward_hacking"
    assert opinion(-0.25, gain=-0.1) is None  # the reward fell, too: nothing was tricked


def test_few_groups_that_teach_are_told():
    assert Health().judge_signal(0.2) is None
    assert Health().judge_signal(0.19).code == "little_signal"


def test_all_of_the_first_32_grades_failing_ends_the_job():
    log = GradeLog()
    for _ in range(31):
        log.record("no field answer")
    with pytest.raises(JobFailed, match=r"first 32 grades all failed. 32 times: no field answer") as ended:
        log.record("no field answer")
    assert ended.value.code == "grader_error_rate_exceeded"


def test_a_fifth_of_the_last_500_failing_ends_the_job_and_names_each_message():
    log = GradeLog()
    with pytest.raises(JobFailed, match=r"100 of the last 397 grades failed. 50 times: b; 50 times: a"):
        [log.record(None if index % 4 else ("a" if index % 8 else "b")) for index in range(500)]
    assert log.num_grades == 397


def test_fewer_failures_are_only_counted():
    log = GradeLog()
    for index in range(3000):
        log.record("x" if index % 6 == 0 else None)
    assert log.num_failed == 500


def test_five_evaluations_without_a_gain_above_the_error_stop_early():
    stop = EarlyStop()
    assert stop.observe(1, gain=0.03, standard_error=0.02, informative_share=1) is None
    reasons = [stop.observe(step, gain=0.01, standard_error=0.02, informative_share=1) for step in range(2, 7)]
    assert reasons[:4] == [None] * 4
    assert reasons[4].startswith("early stop: 5 evaluations")


def test_a_run_that_never_gained_gets_twice_the_patience():
    stop = EarlyStop()
    reasons = [stop.observe(step, gain=0.01, standard_error=0.02, informative_share=1) for step in range(1, 11)]
    assert reasons[:9] == [None] * 9
    assert reasons[9].startswith("early stop: 10 evaluations")


def test_small_gains_add_up_against_the_same_reference():
    stop = EarlyStop()
    for step, gain in enumerate([0.01, 0.02, 0.03], start=1):
        stop.observe(step, gain=gain, standard_error=0.025, informative_share=1)
    assert (stop.reference_step, stop.evaluations_without_gain) == (3, 0)


def test_three_evaluations_without_signal_mean_converged():
    stop = EarlyStop()
    reasons = [stop.observe(step, gain=1, standard_error=0, informative_share=0.01) for step in range(3)]
    assert reasons[:2] == [None, None]
    assert reasons[2].startswith("converged")


def test_the_kl_coefficient_is_off_until_the_budget_is_passed_and_then_grows():
    control = KlControl()
    coefs, codes = [], []
    for kl in (0.01, 0.017, 0.03, 0.03, 0.01):
        found = control.observe(kl, budget_nats=0.02)
        codes.append(found and found.code)
        coefs.append(control.coef)
    assert codes == [None, "kl_near_budget", "kl_penalty_raised", "kl_penalty_raised", None]
    assert coefs == [0, 0, 1e-3, pytest.approx(1.5e-3), pytest.approx(1.5e-3)]
    stop = control.observe(0.05, budget_nats=0.02)
    assert (stop.action, stop.code) == ("stop", "kl_over_budget")


def test_the_entropy_bonus_waits_for_20_steps_and_a_fall_below_30_percent():
    floor = EntropyFloor()
    assert [floor.observe(value) for value in (0.1, *[1.1] * 18)] == [None] * 19
    assert floor.start is None
    floor.observe(1.1)  # the mean of the first 20 is (0.1 + 19 * 1.1) / 20 = 1.05, the floor 0.315
    assert floor.start == pytest.approx(1.05)
    assert (floor.observe(0.32), floor.coef) == (None, 0.0)
    assert (floor.observe(0.31).code, floor.coef) == ("entropy_bonus_on", 0.005)
    assert (floor.observe(0.2), floor.coef) == (None, 0.010)
    assert (floor.observe(0.4).code, floor.coef) == ("entropy_bonus_off", 0.0)
    assert floor.stored == pytest.approx(0.005)  # it shrinks slowly, and goes on from there
    floor.observe(0.2)
    assert floor.coef == pytest.approx(0.010)
    for _ in range(50):
        floor.observe(0.1)
    assert floor.coef == 0.05


def test_length_costs_once_answers_grew_by_half_without_getting_better():
    control = LengthControl()
    assert control.observe(tokens_then=20, tokens_now=31, evaluations_without_gain=1) is None
    assert control.observe(tokens_then=20, tokens_now=29, evaluations_without_gain=5) is None
    assert control.observe(tokens_then=20, tokens_now=31, evaluations_without_gain=2).code == "length_penalty_on"
    assert control.coef == 0.1
    assert control.observe(tokens_then=20, tokens_now=40, evaluations_without_gain=3) is None


def test_tokens_on_which_sampler_and_learner_disagree_are_told_and_halve_the_rate_once():
    health = Health()
    assert health.watch_masks(0.04) is None
    assert action(health.watch_masks(0.1)) == "tell"
    assert "disagree on 30%" in health.watch_masks(0.3).message
    assert health.masked_alarm
    assert action(health.watch_masks(0.3)) == "tell"
