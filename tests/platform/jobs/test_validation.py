"""Files are read when the job begins, with the eyes of its method and its grader."""

import json

from fettle_platform.jobs.tick import tick


def test_a_row_without_what_the_grader_reads_fails_the_job_with_its_line(api, create, upload, said):
    good = said.rows(2)
    bad = b'{"messages": [{"role": "user", "content": "What is 9 + 1?"}]}\n'
    job = create(training_file=upload(good + bad))
    tick(now=said.now)
    shown = api.get(f"/v1/fine_tuning/jobs/{job.public_id}").json()
    assert shown["status"] == "failed"
    assert shown["error"]["code"] == "invalid_training_file"
    assert shown["error"]["param"] == "training_file"
    assert "line 3" in shown["error"]["message"]
    assert "answer" in shown["error"]["message"]
    assert shown["finished_at"]


def test_a_bad_validation_row_fails_with_its_own_code(api, create, upload, said):
    job = create(validation_file=upload(b'{"messages": []}\n'))
    tick(now=said.now)
    job.refresh_from_db()
    assert (job.status, job.error_code, job.error_param) == ("failed", "invalid_validation_file", "validation_file")


def test_rows_in_both_files_are_a_warning(api, create, upload, said):
    job = create(validation_file=upload(said.rows(3)))
    tick(now=said.now)
    events = api.get(f"/v1/fine_tuning/jobs/{job.public_id}/events").json()["data"]
    warning = next(event for event in events if event["level"] == "warn")
    assert warning["data"] == {"code": "train_validation_overlap", "count": 3}
    job.refresh_from_db()
    assert job.status == "queued"


def test_supervised_rows_must_end_with_an_answer(create, upload, said):
    row = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
    good = create(method=..., validation_file=..., training_file=upload(json.dumps(row).encode()))
    bad = create(method=..., validation_file=...)
    tick(now=said.now)
    good.refresh_from_db()
    bad.refresh_from_db()
    assert (good.status, bad.status) == ("queued", "failed")


def test_two_ticks_at_once_validate_once(create, said):
    from fettle_platform.jobs.models import Job, JobEvent
    from fettle_platform.jobs.validation import job_validate

    job = create()
    first, second = Job.objects.get(pk=job.pk), Job.objects.get(pk=job.pk)
    assert job_validate(job=first, now=said.now) is True
    assert job_validate(job=second, now=said.now) is False
    assert JobEvent.objects.filter(job=job, message__startswith="Files validated").count() == 1


def test_one_failing_part_of_the_tick_stops_no_other(create, said, monkeypatch):
    from fettle_platform.jobs import tick as module

    def broken(now):
        raise RuntimeError("broken")

    job = create()
    monkeypatch.setitem(module.PARTS, "reap", broken)
    done = tick(now=said.now)
    assert done["reap"] is None
    assert done["validate"] == 1
    job.refresh_from_db()
    assert job.status == "queued"


def test_a_job_cancelled_while_it_is_validated_stays_cancelled(api, create, said):
    from fettle_platform.jobs.models import Job
    from fettle_platform.jobs.validation import job_validate

    job = create()
    seen = Job.objects.get(pk=job.pk)
    api.post(f"/v1/fine_tuning/jobs/{job.public_id}/cancel")
    assert job_validate(job=seen, now=said.now) is False
    job.refresh_from_db()
    assert job.status == "cancelled"
