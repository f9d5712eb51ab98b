"""Pause, resume and cancel in every state, and what the worker then does."""

import pytest

from fettle_platform.core.errors import Gone


def post(api, job, verb):
    return api.post(f"/v1/fine_tuning/jobs/{job.public_id}/{verb}")


def test_a_queued_job_is_paused_at_once_and_resumes_in_a_new_attempt(api, queued):
    job = queued()
    assert post(api, job, "pause").json()["status"] == "paused"
    resumed = post(api, job, "resume").json()
    assert (resumed["status"], resumed["fettle"]["attempt"]) == ("queued", 2)


def test_a_running_job_saves_its_step_and_then_is_paused(api, worker, said):
    run = worker()
    run.start()
    run.train(1, 2)
    assert post(api, run.job, "pause").json()["status"] == "pausing"
    assert run.beat() == "pause"
    run.commit(2)
    run.say(said.Stopped(reason="paused", step=2))
    assert run.job.status == "paused"
    assert post(api, run.job, "resume").json()["status"] == "queued"
    run.job.refresh_from_db()
    again = worker(run.job)
    assert again.claim.resume.step == 2
    assert again.claim.resume.store_prefix.endswith("a1/step-000002")


def test_a_running_job_is_cancelled_at_its_next_step(api, worker, said):
    run = worker()
    run.start()
    shown = post(api, run.job, "cancel").json()
    assert shown["status"] == "running"
    assert shown["fettle"]["phase"] == "Stopping at the end of the current step."
    assert post(api, run.job, "cancel").status_code == 200  # again is fine
    assert run.beat() == "cancel"
    run.say(said.Stopped(reason="cancelled", step=0))
    assert run.job.status == "cancelled"
    assert run.job.finished_at


def test_cancel_wins_over_an_earlier_pause(api, worker, said):
    run = worker()
    run.start()
    post(api, run.job, "pause")
    post(api, run.job, "cancel")
    run.say(said.Stopped(reason="paused", step=1))
    assert run.job.status == "cancelled"


@pytest.mark.parametrize("verb", ["cancel", "pause"])
def test_a_wish_survives_a_lost_worker(api, worker, said, verb):
    """The worker dies before it sees the wish; the job must not start again."""
    from datetime import timedelta

    from fettle_platform.jobs.leases import jobs_reap

    run = worker()
    run.start()
    post(api, run.job, verb)
    jobs_reap(now=run.now + timedelta(hours=1))
    run.job.refresh_from_db()
    assert run.job.status == {"cancel": "cancelled", "pause": "paused"}[verb]


def test_preemption_requeues_without_counting_a_loss(worker, said):
    run = worker()
    run.start()
    run.commit(1)
    run.say(said.Stopped(reason="preempted", step=1))
    assert (run.job.status, run.job.attempt, run.job.lost_attempts) == ("queued", 2, 0)
    assert worker(run.job).claim.resume.step == 1


@pytest.mark.parametrize(
    ("state", "refused"),
    [
        ("validating_files", ["pause", "resume"]),
        ("queued", ["resume"]),
        ("running", ["resume"]),
        ("pausing", ["pause", "resume"]),
        ("cancelling", ["pause", "resume"]),
        ("paused", ["pause"]),
        ("succeeded", ["cancel", "pause", "resume"]),
        ("failed", ["cancel", "pause", "resume"]),
        ("cancelled", ["cancel", "pause", "resume"]),
    ],
)
def test_a_wrong_state_is_a_400_that_names_it(api, create, queued, worker, succeeded, said, error_of, state, refused):
    if state == "validating_files":
        job = create()
    elif state == "succeeded":
        job = succeeded().job
    elif state in ("queued", "paused", "cancelled"):
        job = queued()
    else:
        run = worker()
        job = run.job
        if state == "failed":
            run.say(said.Failed(code="out_of_memory", message="The GPU has 1 GB.", param=None))
    verb = {"paused": "pause", "cancelled": "cancel", "pausing": "pause", "cancelling": "cancel"}.get(state)
    if verb:
        post(api, job, verb)
    for call in refused:
        error = error_of(post(api, job, call), 400)
        assert error["code"] == "invalid_state"
        assert f"`{'running' if state == 'cancelling' else state}`" in error["message"]


def test_a_failure_of_the_trainer_is_shown(api, worker, said):
    run = worker()
    run.say(said.Failed(code="no_learning_signal", message="All rewards are 0.", param="method.reinforcement.grader"))
    shown = api.get(f"/v1/fine_tuning/jobs/{run.job.public_id}").json()
    assert shown["status"] == "failed"
    assert shown["error"] == {
        "code": "no_learning_signal",
        "message": "All rewards are 0.",
        "param": "method.reinforcement.grader",
    }


def test_nothing_is_taken_after_the_end(worker, said):
    run = worker()
    run.say(said.Failed(code="internal_error", message="x"))
    with pytest.raises(Gone):
        run.say(said.Message(message="still here"))
    with pytest.raises(Gone):
        run.beat()


def finish(api, job):
    return api.post(f"/v1/fettle/fine_tuning/jobs/{job.public_id}/finish")


def test_a_running_job_told_to_finish_ends_with_what_it_has(api, worker, said):
    run = worker()
    run.start()
    shown = finish(api, run.job).json()
    assert shown["status"] == "running"
    assert shown["fettle"]["phase"].startswith("Making no further steps")
    assert finish(api, run.job).status_code == 200  # again is fine
    assert run.beat() == "finish"


def test_a_job_told_to_finish_still_is_after_its_worker_was_lost(api, worker):
    from datetime import timedelta

    from fettle_platform.jobs.leases import jobs_reap

    run = worker()
    run.start()
    finish(api, run.job)
    jobs_reap(now=run.now + timedelta(hours=1))
    run.job.refresh_from_db()
    assert run.job.status == "queued"
    assert worker(run.job).beat() == "finish"


def test_a_paused_job_can_be_told_to_finish(api, queued, worker):
    job = queued()
    post(api, job, "pause")
    assert finish(api, job).json()["status"] == "queued"
    job.refresh_from_db()
    assert worker(job).beat() == "finish"


def test_only_running_and_paused_jobs_can_be_told_to_finish(api, queued, error_of):
    error = error_of(finish(api, queued()), 400)
    assert error["code"] == "invalid_state"
    assert "`running`, `paused`" in error["message"]


def test_what_the_trainer_says_keeps_its_code_step_and_numbers(api, worker, said):
    run = worker()
    numbers = {"entropy_nats": 0.25, "start": 0.5}
    run.say(said.Message(level="warn", message="fell", code="entropy_collapsed", step=7, values=numbers))
    run.say(said.Message(message="plain"))
    events = api.get(f"/v1/fine_tuning/jobs/{run.job.public_id}/events").json()["data"]
    found = {event["message"]: (event["level"], event["data"]) for event in events}
    assert found["fell"] == ("warn", {"code": "entropy_collapsed", "step": 7, "values": numbers})
    assert found["plain"] == ("info", None)
