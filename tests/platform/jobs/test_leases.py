"""Claims, heartbeats, fences and lost workers. Time is passed in, so nothing here waits."""

from datetime import timedelta

import pytest

from fettle_platform.core.errors import Gone
from fettle_platform.core.storage import StoreUnavailable
from fettle_platform.jobs import dispatch, leases
from fettle_platform.jobs.models import Job, JobEvent
from fettle_workers.contract.internal import SequencedEvent


@pytest.fixture
def sent(monkeypatch):
    """The wake-ups that were sent."""
    messages = []

    class Broker:
        def send_task(self, name, *, kwargs, queue, **options):
            messages.append((name, kwargs["job_id"], kwargs["attempt"], queue))

    monkeypatch.setattr(dispatch, "broker", Broker)
    return messages


def late(run, seconds=3600):
    return run.now + timedelta(seconds=seconds)


def test_a_job_is_claimed_once(worker):
    run = worker()
    assert run.job.public_id == run.claim.spec.job_id
    with pytest.raises(Gone):
        leases.job_claim(job_id=run.job.public_id, attempt=1, worker="other", now=run.now)


def test_a_claim_of_another_attempt_is_refused(queued, said):
    job = queued()
    with pytest.raises(Gone):
        leases.job_claim(job_id=job.public_id, attempt=2, worker="w", now=said.now)


def test_the_token_is_kept_only_as_a_digest(worker):
    run = worker()
    run.job.refresh_from_db()
    assert run.claim.token not in str(run.job.__dict__)
    assert leases.job_of_attempt(job_id=run.job.public_id, attempt=1, token=run.claim.token).pk == run.job.pk
    with pytest.raises(Gone):
        leases.job_of_attempt(job_id=run.job.public_id, attempt=1, token=run.claim.token + "x")


def test_a_heartbeat_keeps_the_lease(worker):
    run = worker()
    for _ in range(5):
        run.beat(after_s=20)
        assert leases.jobs_reap(now=run.now) == 0


def test_a_silent_worker_loses_its_job_and_everything_it_says_is_refused(worker, said):
    run = worker()
    run.start()
    assert leases.jobs_reap(now=late(run)) == 1
    run.job.refresh_from_db()
    assert (run.job.status, run.job.attempt, run.job.lost_attempts) == ("queued", 2, 1)
    before = JobEvent.objects.filter(job=run.job).count()
    for call in (
        lambda: run.beat(),
        lambda: run.say(said.step(1)),
        lambda: run.say(said.finished()),
        lambda: leases.job_release(job=run.job, attempt=1, outcome="requeue", message="", now=run.now),
    ):
        with pytest.raises(Gone):
            call()
    run.job.refresh_from_db()
    assert (run.job.status, run.job.attempt) == ("queued", 2)
    assert JobEvent.objects.filter(job=run.job).count() == before


def test_a_stale_worker_is_refused_while_another_one_runs_the_job(worker, said):
    """Even when its token was checked just before the other attempt began."""
    stale = worker()
    leases.jobs_requeue_all(now=stale.now)
    stale.job.refresh_from_db()
    current = worker(stale.job)
    current.start()
    before = Job.objects.filter(pk=stale.job.pk).values().get()
    for call in (
        stale.beat,
        lambda: stale.say(said.step(1)),
        lambda: stale.say(said.checkpoint(stale.job, 1, 1)),
        lambda: stale.say(said.finished()),
        lambda: leases.job_release(job=stale.job, attempt=1, outcome="requeue", message="", now=stale.now),
        lambda: leases.job_release(job=stale.job, attempt=1, outcome="lost", message="", now=stale.now),
    ):
        with pytest.raises(Gone):
            call()
    assert Job.objects.filter(pk=stale.job.pk).values().get() == before
    assert current.beat() == "run"


def test_the_event_of_a_loss_says_in_words_what_happened(worker):
    run = worker()
    run.start()
    leases.jobs_reap(now=late(run))
    messages = [event.message for event in JobEvent.objects.filter(job=run.job, level="warn")]
    assert messages == ["The worker (host:1) has not been heard of for 3600 seconds. Attempt 1 is lost at step 0."]


def test_three_losses_without_progress_fail_the_job(worker):
    run = worker()
    for _ in range(3):
        run.start()
        run.train(1, 2)
        leases.job_release(job=run.job, attempt=run.attempt, outcome="lost", message="killed by signal 9", now=run.now)
        run.job.refresh_from_db()
        if run.job.status == "queued":
            run = worker(run.job)
    job = Job.objects.get(pk=run.job.pk)
    # The first loss came after new steps (1 and 2); the second and third never got past step 2.
    assert (job.status, job.error_code, job.attempt) == ("failed", "worker_lost", 3)
    assert "step 2" in job.error_message
    assert "killed by signal 9" in job.error_message


def test_losses_with_progress_between_them_are_not_counted_together(worker):
    run = worker()
    for reached in range(1, 7):
        run.start(total_steps=10)
        run.train(1, reached)
        leases.jobs_reap(now=late(run))
        run.job.refresh_from_db()
        assert (run.job.status, run.job.lost_attempts) == ("queued", 1)
        run = worker(run.job)


def test_a_heartbeat_between_look_and_take_wins(worker):
    run = worker()
    seen = run.job.__class__.objects.get(pk=run.job.pk)
    run.beat(after_s=10)
    assert leases.lose(seen, attempt=1, now=late(run), reason="x", seen_lease=seen.lease_until) is False
    run.job.refresh_from_db()
    assert run.job.status == "running"


def test_a_repeated_batch_changes_nothing(worker, said):
    from fettle_platform.jobs.intake import job_apply_events

    run = worker()
    batch = [
        SequencedEvent(sequence=1, event=said.Started(plan={}, total_steps=4)),
        SequencedEvent(sequence=2, event=said.step(1)),
        SequencedEvent(sequence=3, event=said.Message(message="hello")),
    ]
    for _ in range(3):
        job_apply_events(job=run.job, attempt=1, events=batch, now=run.now)
    job_apply_events(job=run.job, attempt=1, events=batch[1:], now=run.now)
    assert JobEvent.objects.filter(job=run.job, attempt=1).count() == 3
    seqs = list(JobEvent.objects.filter(job=run.job).order_by("seq").values_list("seq", flat=True))
    assert seqs == list(range(1, len(seqs) + 1))


def test_the_last_batch_may_be_repeated_after_the_end(worker, said):
    from fettle_platform.jobs.intake import job_apply_events

    run = worker()
    batch = [SequencedEvent(sequence=1, event=said.finished())]
    for _ in range(2):
        assert job_apply_events(job=run.job, attempt=1, events=batch, now=run.now).desired == "run"
    run.job.refresh_from_db()
    assert run.job.status == "succeeded"
    assert JobEvent.objects.filter(job=run.job, message__startswith="New fine-tuned model").count() == 1


def test_a_store_that_is_away_at_the_end_undoes_everything(api, worker, said, monkeypatch):
    from fettle_platform.datasets import services
    from fettle_platform.registry.models import Model

    run = worker()
    run.start()
    run.commit(0, mean=0.5)

    class Away:
        def put(self, *args, **kwargs):
            raise StoreUnavailable("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(services, "get_store", Away)
        with pytest.raises(StoreUnavailable):
            run.say(said.finished(chosen=0))
    run.job.refresh_from_db()
    assert run.job.status == "running"
    assert not Model.objects.filter(is_checkpoint=False).exists()
    run.sequence -= 1
    run.say(said.finished(chosen=0))
    assert run.job.status == "succeeded"


def test_a_start_gives_back_every_running_job_and_announces_all_that_wait(worker, queued, sent):
    waiting = queued()
    run = worker()
    run.start()
    assert leases.jobs_requeue_all(now=run.now) == 1
    leases.jobs_dispatch(now=run.now)
    assert {message[1:3] for message in sent} == {(waiting.public_id, 1), (run.job.public_id, 2)}
    run.job.refresh_from_db()
    assert (run.job.status, run.job.attempt, run.job.lost_attempts) == ("queued", 2, 0)


def test_a_resumed_attempt_forgets_the_steps_it_does_again(worker):
    from fettle_platform.jobs.models import JobStep

    run = worker()
    run.start()
    run.train(1, 1)
    run.commit(1)
    run.train(2, 3)
    leases.jobs_requeue_all(now=run.now)
    run.job.refresh_from_db()
    again = worker(run.job)
    assert again.claim.resume.step == 1
    again.start(resumed_from=1)
    assert list(JobStep.objects.filter(job=run.job).values_list("step", flat=True)) == [1]
    assert again.job.step == 1


def test_a_queued_job_is_announced_once_and_again_when_it_is_due(
    create, said, sent, django_capture_on_commit_callbacks
):
    from fettle_platform.jobs.validation import job_validate

    job = create()
    with django_capture_on_commit_callbacks(execute=True):
        job_validate(job=job, now=said.now)
    message = ("fettle.train", job.public_id, 1, "train")
    assert sent == [message]
    assert leases.jobs_dispatch(now=said.now + timedelta(seconds=1)) == 0
    assert leases.jobs_dispatch(now=said.now + timedelta(seconds=60)) == 1
    assert leases.jobs_dispatch(now=said.now + timedelta(seconds=60)) == 0
    assert sent == [message, message]


def test_two_ticks_at_once_announce_each_job_once(queued, monkeypatch):
    """The second tick runs while the first is between its look at the due jobs and the last of them."""
    due = max(queued().dispatch_after for _ in range(3))
    announced = []

    def announce(job_id, attempt):
        announced.append(job_id)
        leases.jobs_dispatch(now=due)
        return True

    monkeypatch.setattr(leases, "announce", announce)
    leases.jobs_dispatch(now=due)
    assert len(announced) == len(set(announced)) == 3


def test_a_broker_that_is_away_costs_nobody_anything(create, said, monkeypatch, django_capture_on_commit_callbacks):
    from kombu.exceptions import OperationalError

    from fettle_platform.jobs.validation import job_validate

    class Away:
        def send_task(self, *args, **kwargs):
            raise OperationalError("connection refused")

    monkeypatch.setattr(dispatch, "broker", Away)
    job = create()
    with django_capture_on_commit_callbacks(execute=True):
        assert job_validate(job=job, now=said.now)
    job.refresh_from_db()
    assert job.status == "queued"


@pytest.mark.parametrize(
    ("call", "fields"),
    [("heartbeat", {}), ("events", {"events": []}), ("release", {"outcome": "lost", "message": ""})],
)
def test_the_internal_api_takes_only_the_token_of_the_attempt(anonymous, worker, fettle_env, call, fields):
    run = worker()
    path = f"/internal/jobs/{run.job.public_id}/{call}"
    body = fields | {"attempt": 1}
    assert anonymous.post(path, body).status_code == 401
    workers = fettle_env.resolved_worker_token()
    assert anonymous.post(path, body, headers={"Authorization": f"Bearer {workers}"}).status_code == 410
    own = {"Authorization": f"Bearer {run.claim.token}"}
    assert anonymous.post(path, body | {"attempt": 2}, headers=own).status_code == 410
    assert anonymous.post(path, body | {"extra": 1}, headers=own).status_code == 400
    answer = anonymous.post(path, body, headers=own)
    assert answer.status_code == 200
    assert answer.json() == {"desired": "run", "lease_s": 30.0}


def test_a_claim_needs_the_workers_token(api, anonymous, queued, fettle_env, error_of):
    job = queued()
    path = f"/internal/jobs/{job.public_id}/claim"
    body = {"attempt": 1, "worker": "w"}
    error_of(anonymous.post(path, body), 401)
    error_of(api.post(path, body), 401)  # a user's key is no worker's token
    own = {"Authorization": f"Bearer {fettle_env.resolved_worker_token()}"}
    error_of(anonymous.post(path, body | {"attempt": 7}, headers=own), 410)
    claim = anonymous.post(path, body, headers=own)
    assert claim.status_code == 200
    assert claim.json()["spec"] == job.spec
    error_of(anonymous.post(path, body, headers=own), 410)
