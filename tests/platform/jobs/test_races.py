"""Real threads on the real database: of any number of callers exactly one wins, and no event number is lost."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection

from fettle_platform.core.errors import FettleError, Gone
from fettle_platform.jobs import leases, services
from fettle_platform.jobs.models import Job, JobEvent

pytestmark = pytest.mark.django_db(transaction=True)
NUM_THREADS = 8


def at_once(call, count=NUM_THREADS):
    """Run `call(i)` in `count` threads that start together; gives the results, an exception being one too."""
    gate = threading.Barrier(count)

    def one(index):
        try:
            gate.wait(30)
            return call(index)
        except FettleError as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_of_many_claims_exactly_one_wins(queued, said):
    for _ in range(5):
        job = queued()
        results = at_once(
            lambda i, job=job: leases.job_claim(job_id=job.public_id, attempt=1, worker=f"w{i}", now=said.now)
        )
        assert [isinstance(result, Gone) for result in results].count(False) == 1
        job.refresh_from_db()
        winner = next(i for i, result in enumerate(results) if not isinstance(result, Gone))
        assert job.worker == f"w{winner}"


def test_of_many_reapers_exactly_one_counts_the_loss(worker):
    run = worker()
    late = run.now + timedelta(hours=1)
    assert sum(at_once(lambda _: leases.jobs_reap(now=late))) == 1
    job = Job.objects.get(pk=run.job.pk)
    assert (job.attempt, job.lost_attempts) == (2, 1)


def test_of_many_ticks_exactly_one_announces_a_job(queued):
    due = queued().dispatch_after
    assert sum(at_once(lambda _: leases.jobs_dispatch(now=due))) == 1


def test_events_written_at_once_get_every_number_once(worker, said):
    """Users, reporting workers and ticks all append to one job's events."""
    run = worker()
    run.start()

    def call(index):
        if index % 2:
            services.job_cancel(job=Job.objects.get(pk=run.job.pk), now=run.now)
        else:
            leases.job_heartbeat(job=run.job, attempt=1, now=run.now)

    at_once(call)
    seqs = list(JobEvent.objects.filter(job=run.job).order_by("seq").values_list("seq", flat=True))
    assert seqs == list(range(1, len(seqs) + 1))
    assert JobEvent.objects.filter(job=run.job, message__startswith="Cancelling").count() == 1


def test_one_batch_sent_by_many_is_applied_once(worker, said):
    from fettle_platform.jobs.intake import job_apply_events
    from fettle_workers.contract.internal import SequencedEvent

    run = worker()
    batch = [SequencedEvent(sequence=i, event=said.Message(message=f"m{i}")) for i in range(1, 6)]
    at_once(lambda _: job_apply_events(job=run.job, attempt=1, events=batch, now=run.now))
    assert JobEvent.objects.filter(job=run.job, message__regex="^m[0-9]$").count() == 5


def test_a_claim_and_a_cancel_at_once_never_leave_a_worker_on_a_cancelled_job(queued, said):
    for _ in range(5):
        job = queued()

        def call(index, job=job):
            if index:
                return services.job_cancel(job=Job.objects.get(pk=job.pk), now=said.now)
            return leases.job_claim(job_id=job.public_id, attempt=1, worker="w", now=said.now)

        claim, _ = at_once(call, 2)
        job.refresh_from_db()
        if isinstance(claim, Gone):
            assert job.status == "cancelled"
        else:
            assert (job.status, job.desired) == ("running", "cancel")
