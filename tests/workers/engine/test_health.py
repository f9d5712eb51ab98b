import math

import pytest

from fettle_workers.engine.errors import JobFailed
from fettle_workers.engine.health import EarlyStop, GradeLog, Health, KlControl


def test_an_update_that_is_not_finite_is_skipped_and_the_third_in_20_rolls_back():
    health = Health()
    assert health.judge_update(1, loss=0.1, grad_norm=1.0) == "apply"
    assert health.judge_update(2, loss=math.nan, grad_norm=1.0) == "skip"
    assert health.judge_update(9, loss=0.1, grad_norm=math.inf) == "skip"
    assert health.judge_update(15, loss=math.nan, grad_norm=1.0) == "roll_back"
    assert health.judge_update(16, loss=0.1, grad_norm=1.0) == "apply"


def test_bad_steps_far_apart_do_not_add_up():
    health = Health()
    assert [health.judge_update(step, loss=math.nan, grad_norm=1.0) for step in (1, 25, 50, 75)] == ["skip"] * 4


def test_a_gradient_ten_times_the_usual_is_skipped():
    health = Health()
    for step in range(20):
        health.judge_update(step, loss=0.0, grad_norm=1.0)
    assert health.judge_update(20, loss=0.0, grad_norm=10.5) == "skip"
    assert health.judge_update(21, loss=0.0, grad_norm=9.5) == "apply"


def test_three_standard_errors_below_the_best_go_back_twice_and_then_end_it():
    health = Health()
    assert health.judge_evaluation(-0.2, 0.1) == "fine"
    assert [health.judge_evaluation(-0.4, 0.1) for _ in range(3)] == ["roll_back", "roll_back", "stop"]


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
    reasons = [stop.observe(step, gain=0.01, standard_error=0.02, informative_share=1) for step in range(1, 6)]
    assert reasons[:4] == [None] * 4
    assert reasons[4].startswith("early stop")


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
    coefs = []
    for kl in (0.01, 0.03, 0.03, 0.01):
        assert control.observe(kl, budget_nats=0.02) is None
        coefs.append(control.coef)
    assert coefs == [0, 1e-3, pytest.approx(1.5e-3), pytest.approx(1.5e-3)]
    assert "twice the budget" in control.observe(0.05, budget_nats=0.02)


def test_tokens_on_which_sampler_and_learner_disagree_halve_the_rate_once():
    health = Health()
    assert health.watch_masks(0.1) is None
    assert "disagree on 30%" in health.watch_masks(0.3)
    assert health.watch_masks(0.3) is None
    assert health.lr_scale == 0.5
