"""A preflight runs as a job does, is shown apart, and gives its answers to a job that would have given the same."""

import pytest

from fettle_platform.jobs.models import Job
from fettle_platform.jobs.validation import job_validate
from fettle_workers.contract import events as contract
from fettle_workers.contract import preflight as shapes

PREFLIGHT = "/v1/fettle/preflight"


def some(value):
    return shapes.Bounded(value=value, low=value / 2, high=None)


def report(verdict="ready"):
    return shapes.PreflightReport(
        verdict=verdict,
        summary="Ready: 1 of 2 rows are teachable, 1 dead, 0 solved.",
        findings=(shapes.Finding(code="few_held_out", severity="note", message="m", next_step="n"),),
        pass_threshold=0.5,
        num_rows=2,
        samples_per_row=8,
        num_answers=16,
        num_graded=16,
        truncated_share=0.0,
        counts=shapes.RowCounts(dead=1, teachable=1, solved=0, ungraded=0, teachable_share=some(0.5)),
        rows=(
            shapes.PreflightRow(row=0, state="dead", mean=0.0, num_graded=8, num_passed=0),
            shapes.PreflightRow(row=5, state="teachable", mean=0.5, num_graded=8, num_passed=4),
        ),
        rewards=None,
        pass_at=(shapes.PassAt(k=1, estimate=some(0.25)),),
        signal=(shapes.SignalShare(group_size=16, planned=True, estimate=some(0.5)),),
        grader=shapes.GraderHealth(failed_share=0, unreadable_share=0, latency_p50_s=0.001, latency_p95_s=0.002),
        held_out=None,
        speed=shapes.Speed(
            tokens_per_s=100, completion_tokens_mean=10, sampling_s=1.6, grading_s=0.1, training_tokens_per_s=50
        ),
        duration=shapes.Duration(total_steps=4, low_s=10, high_s=20, assumes="4 steps"),
        memory=shapes.Memory(device="cpu", peak_bytes=1, total_bytes=2),
    )


STEP0 = shapes.Step0Settings(base_lengths=(3, 4), eval_samples=16, max_completion_tokens=32, temperature=1.0)


@pytest.fixture
def preflight(api, body, said):
    """`preflight()` makes one through the API and brings it to the queue; gives its row."""

    def make(**fields):
        response = api.post(PREFLIGHT, body(**fields))
        assert response.status_code == 200, response.json()
        job = Job.objects.get(public_id=response.json()["id"])
        job_validate(job=job, now=said.now)
        job.refresh_from_db()
        assert job.status == "queued", job.error_message
        return job

    return make


@pytest.fixture
def looked(preflight, worker):
    """A preflight that has ended well."""

    def run(*, step0=STEP0, **fields):
        done = worker(preflight(**fields))
        done.start()
        done.store_final()
        done.say(contract.Preflighted(report=report(), step0=step0))
        return done.job

    return run


def test_a_preflight_is_made_from_the_body_of_a_job(api, body):
    answer = api.post(
        PREFLIGHT, body(num_rows=16, samples_per_row=4, pass_threshold=0.75, metadata={"team": "a"})
    ).json()
    assert answer["id"].startswith("preflight-")
    assert (answer["object"], answer["status"]) == ("fettle.preflight", "validating_files")
    assert (answer["num_rows"], answer["samples_per_row"], answer["pass_threshold"]) == (16, 4, 0.75)
    assert (answer["verdict"], answer["summary"], answer["report"], answer["plan"]) == (None, None, None, None)
    assert answer["method"]["reinforcement"]["grader"]["type"] == "string_check"
    assert answer["metadata"] == {"team": "a"}
    assert api.get(f"{PREFLIGHT}/{answer['id']}").json() == answer
    frozen = Job.objects.get(public_id=answer["id"]).spec
    assert frozen["preflight"] == {"num_rows": 16, "samples_per_row": 4, "pass_threshold": 0.75}


def test_it_is_no_fine_tuning_job(api, preflight, error_of):
    job = preflight()
    assert api.get("/v1/fine_tuning/jobs").json()["data"] == []
    for path in ("", "/events", "/checkpoints"):
        error_of(api.get(f"/v1/fine_tuning/jobs/{job.public_id}{path}"), 404)
    error_of(api.post(f"/v1/fine_tuning/jobs/{job.public_id}/pause"), 404)
    error_of(api.get(f"/v1/fettle/fine_tuning/jobs/{job.public_id}/rollouts"), 404)


def test_its_report_is_stored_and_shown(api, looked):
    job = looked()
    shown = api.get(f"{PREFLIGHT}/{job.public_id}").json()
    assert (shown["status"], shown["verdict"]) == ("succeeded", "ready")
    assert shown["summary"] == report().summary
    assert shown["report"] == report().model_dump(mode="json")
    assert shown["plan"]["group_size"] == 8
    assert shown["finished_at"]
    (listed,) = api.get(PREFLIGHT).json()["data"]
    assert listed["report"]["rows"] == []
    assert listed["report"]["counts"] == shown["report"]["counts"]
    rollouts = api.get(f"{PREFLIGHT}/{job.public_id}/rollouts").json()["data"]
    assert len(rollouts) == 4
    messages = [event["message"] for event in api.get(f"{PREFLIGHT}/{job.public_id}/events").json()["data"]]
    assert messages[0] == report().summary
    assert "Preflight started" in messages
    assert not any("ine-tuning" in message for message in messages)


def test_its_end_is_no_end_of_a_fine_tuning_job_to_webhooks(looked, monkeypatch):
    from fettle_platform.jobs import transitions

    recorded = []
    monkeypatch.setattr(transitions, "event_record", lambda **fields: recorded.append(fields))
    looked()
    assert recorded == []


def test_a_second_report_changes_nothing(api, preflight, worker):
    done = worker(preflight())
    done.start()
    done.say(contract.Preflighted(report=report(), step0=None))
    with pytest.raises(Exception, match="over"):
        done.say(contract.Preflighted(report=report("dont"), step0=None))
    assert api.get(f"{PREFLIGHT}/{done.job.public_id}").json()["verdict"] == "ready"


def test_bad_rows_fail_it_and_the_line_is_named(api, body, upload, said):
    lacking = upload(b'{"messages": [{"role": "user", "content": "x"}]}\n' * 8)
    job = Job.objects.get(public_id=api.post(PREFLIGHT, body(training_file=lacking)).json()["id"])
    job_validate(job=job, now=said.now)
    shown = api.get(f"{PREFLIGHT}/{job.public_id}").json()
    assert (shown["status"], shown["error"]["code"]) == ("failed", "invalid_training_file")
    assert "answer" in shown["error"]["message"]


def test_it_can_be_cancelled_waiting_or_running(api, preflight, worker, error_of):
    waiting = preflight()
    assert api.post(f"{PREFLIGHT}/{waiting.public_id}/cancel").json()["status"] == "cancelled"
    error = error_of(api.post(f"{PREFLIGHT}/{waiting.public_id}/cancel"), 400)
    assert error["code"] == "invalid_state"
    running = worker(preflight())
    running.start()
    assert api.post(f"{PREFLIGHT}/{running.job.public_id}/cancel").json()["phase"] == "Stopping."
    assert running.beat() == "cancel"
    running.say(contract.Stopped(reason="cancelled", step=0))
    assert api.get(f"{PREFLIGHT}/{running.job.public_id}").json()["status"] == "cancelled"


def test_a_lost_worker_gives_it_to_another_and_three_end_it(preflight, worker, said):
    from fettle_platform.jobs import leases

    job = preflight()
    for _ in range(3):
        job.refresh_from_db()
        assert job.status == "queued"
        lost = worker(job)
        leases.job_release(job=job, attempt=lost.attempt, outcome="lost", message="killed", now=said.now)
    job.refresh_from_db()
    assert (job.status, job.error_code) == ("failed", "worker_lost")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"method": {"type": "supervised"}}, "method.type"),
        ({"num_rows": 0}, "num_rows"),
        ({"num_rows": "many"}, "num_rows"),
        ({"samples_per_row": 1}, "samples_per_row"),
        ({"pass_threshold": "high"}, "pass_threshold"),
        ({"num_row": 4}, "num_row"),
        ({"training_file": ...}, "training_file"),
        ({"validation_file": ...}, "validation_file"),
        ({"fettle": {"preflight_id": "preflight-1"}}, "fettle.preflight_id"),
    ],
)
def test_bad_requests_name_the_field(api, body, error_of, fields, param):
    assert error_of(api.post(PREFLIGHT, body(**fields)), 400)["param"] == param


def test_another_organizations_preflight_is_not_there(foreign_api, looked, error_of):
    job = looked()
    for path in ("", "/events", "/rollouts"):
        error_of(foreign_api.get(f"{PREFLIGHT}/{job.public_id}{path}"), 404)
    error_of(foreign_api.post(f"{PREFLIGHT}/{job.public_id}/cancel"), 404)
    assert foreign_api.get(PREFLIGHT).json()["data"] == []


def test_a_key_is_needed(anonymous, db, error_of):
    error_of(anonymous.post(PREFLIGHT, {}), 401)
    error_of(anonymous.get(PREFLIGHT), 401)


def taken_over(body, job, **fields):
    """The body of a job about the same files."""
    asked = {"training_file": job.training_file, "validation_file": job.validation_file}
    return body(**asked | {"fettle": {"preflight_id": job.public_id}, "seed": ...} | fields)


def test_a_job_takes_the_answers_over_with_the_seed(api, body, looked):
    job = looked(seed=99)
    made = api.post("/v1/fine_tuning/jobs", taken_over(body, job)).json()
    assert made["seed"] == 99
    assert made["fettle"]["preflight_id"] == job.public_id
    ref = Job.objects.get(public_id=made["id"]).spec["step0"]
    assert ref["preflight_id"] == job.public_id
    assert ref["key"] == f"jobs/{job.public_id}/a1/final/rollouts.parquet"
    assert ref["settings"]["base_lengths"] == [3, 4]


def test_settings_that_do_not_touch_the_answers_may_differ(api, body, looked):
    job = looked()
    method = {"type": "reinforcement", "reinforcement": {"grader": job.spec["method"]["grader"]}}
    method["reinforcement"]["hyperparameters"] = {"n_epochs": 3, "group_size": 4, "learning_rate_multiplier": 2.0}
    answer = api.post("/v1/fine_tuning/jobs", taken_over(body, job, method=method))
    assert answer.status_code == 200, answer.json()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda grader: {"seed": 8}, "seed"),
        (lambda grader: {"training_file": None}, "training_file"),
        (lambda grader: {"validation_file": None}, "validation_file"),
        (lambda grader: {"method": grader(operation="ilike")}, "method.reinforcement.grader"),
        (lambda grader: {"method": grader(settings={"temperature": 0.5})}, "hyperparameters.temperature"),
        (lambda grader: {"method": grader(settings={"eval_samples": 2})}, "hyperparameters.eval_samples"),
    ],
)
def test_what_would_change_the_answers_is_refused_by_name(api, body, looked, said, upload, error_of, change, named):
    job = looked()

    def method(settings=None, **grader):
        return {"type": "reinforcement",
                "reinforcement": {"grader": said.grader | grader, "hyperparameters": settings or {}}}  # fmt: skip

    fields = {k: upload(said.rows(6, start=50)) if v is None else v for k, v in change(method).items()}
    error = error_of(api.post("/v1/fine_tuning/jobs", taken_over(body, job, **fields)), 400)
    assert error["param"] == "fettle.preflight_id"
    assert named in error["message"]


def test_answers_that_are_not_there_cannot_be_taken_over(api, body, preflight, looked, foreign_api, other, error_of):
    waiting = preflight()
    error = error_of(api.post("/v1/fine_tuning/jobs", taken_over(body, waiting)), 400)
    assert error["code"] == "invalid_state"
    ungraded = looked(step0=None)
    assert (
        "nothing to take over" in error_of(api.post("/v1/fine_tuning/jobs", taken_over(body, ungraded)), 400)["message"]
    )
    error_of(foreign_api.post("/v1/fine_tuning/jobs", body(other[0], fettle={"preflight_id": waiting.public_id})), 404)


def test_code_that_does_not_load_is_refused_at_once(api, body, error_of):
    method = {"type": "reinforcement", "reinforcement": {"grader": {"type": "python", "source": "def grade(:"}}}
    assert error_of(api.post(PREFLIGHT, body(method=method)), 400)["param"].endswith("grader.source")


def test_a_stored_grader_is_pinned_and_named(api, body, said, queued, error_of):
    stored = api.post("/v1/fettle/graders", {"name": "exact", "grader": said.grader}).json()
    version = stored["newest"]["id"]
    for name in (version, stored["id"]):
        method = {"type": "reinforcement", "reinforcement": {"grader": name}}
        for route in ("/v1/fine_tuning/jobs", PREFLIGHT):
            answer = api.post(route, body(method=method))
            assert answer.status_code == 200, answer.json()
            made = answer.json()
            assert made["method"]["reinforcement"]["grader"]["operation"] == "eq"
            assert (made.get("fettle") or made)["grader_version"] == version
    api.post(f"/v1/fettle/graders/{stored['id']}/versions", {"grader": said.grader | {"operation": "like"}})
    newest = api.post(
        "/v1/fine_tuning/jobs", body(method={"type": "reinforcement", "reinforcement": {"grader": stored["id"]}})
    )
    assert newest.json()["method"]["reinforcement"]["grader"]["operation"] == "like"
    api.delete(f"/v1/fettle/graders/{stored['id']}")
    for name, status in ((stored["id"], 404), ("gradr-none", 404), ("exact", 400)):
        method = {"type": "reinforcement", "reinforcement": {"grader": name}}
        error = error_of(api.post("/v1/fine_tuning/jobs", body(method=method)), status)
        assert error["param"] == "method.reinforcement.grader"
