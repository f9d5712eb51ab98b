"""Any order of calls by users, workers (also zombies), ticks and clocks keeps the promises about jobs.

Several workers keep acting on attempts that are long over, as after a network split. Each rule calls the services as
the API would; the invariants read the database.
"""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from fettle_platform.core.errors import Gone, InvalidRequest
from fettle_platform.jobs import leases, services
from fettle_platform.jobs.intake import job_apply_events
from fettle_platform.jobs.models import Job, JobEvent
from fettle_platform.jobs.states import LEASED, TERMINAL, TRANSITIONS, Status
from fettle_platform.jobs.tick import jobs_dispatch, jobs_reap
from fettle_workers.contract.internal import SequencedEvent

MAX_WORKERS = 4
PICK = st.integers(0, MAX_WORKERS - 1)


class Zombie:
    """A worker's view: the attempt it claimed, and the next number of its events."""

    def __init__(self, claim):
        self.attempt, self.token, self.sequence = claim.attempt, claim.token, 0


class Machine(RuleBasedStateMachine):
    make_job = None  # given by the test
    said = None

    def __init__(self):
        super().__init__()
        self.job = type(self).make_job()
        self.now = self.said.now
        self.workers = []
        self.seen_status = {self.row().status}
        self.last = self.row()
        self.num_events = JobEvent.objects.filter(job=self.job).count()

    def row(self):
        return Job.objects.get(pk=self.job.pk)

    @rule(seconds=st.integers(0, 45))
    def time_passes(self, seconds):
        self.now += timedelta(seconds=seconds)

    @rule(back=st.integers(0, 1))
    def claim(self, back):
        """Also for an attempt that is over, as a late message would ask for."""
        row = self.row()
        try:
            claim = leases.job_claim(job_id=row.public_id, attempt=row.attempt - back, worker="w", now=self.now)
        except Gone:
            assert back or row.status != Status.QUEUED
            return
        assert row.status == Status.QUEUED
        assert not back
        self.workers = [*self.workers[-MAX_WORKERS + 1 :], Zombie(claim)]

    def as_worker(self, pick, call):
        """The call must be refused exactly when the worker's attempt is over."""
        worker = self.workers[pick % len(self.workers)]
        row = self.row()
        alive = row.attempt == worker.attempt and row.status in LEASED
        try:
            job = leases.job_of_attempt(job_id=row.public_id, attempt=worker.attempt, token=worker.token)
            call(worker, job)
        except Gone:
            assert not alive
            assert snapshot(self.row()) == snapshot(row)
        else:
            assert alive, "a stale worker was believed"

    @precondition(lambda self: self.workers)
    @rule(pick=PICK)
    def beat(self, pick):
        self.as_worker(pick, lambda w, job: leases.job_heartbeat(job=job, attempt=w.attempt, now=self.now))

    @precondition(lambda self: self.workers)
    @rule(
        pick=PICK,
        kind=st.sampled_from(["start", "step", "step", "commit", "finish", "fail", "paused", "cancelled", "preempted"]),
        number=st.integers(1, 4),
    )
    def report(self, pick, kind, number):
        def send(worker, job):
            event = self.event(kind, number, job, worker)
            worker.sequence += 1
            entry = SequencedEvent(sequence=worker.sequence, event=event)
            job_apply_events(job=job, attempt=worker.attempt, events=[entry], now=self.now)

        self.as_worker(pick, send)

    def event(self, kind, number, job, worker):
        said = self.said
        match kind:
            case "start":
                return said.Started(plan={}, total_steps=4)
            case "step":
                return said.step(number)
            case "commit":
                return said.checkpoint(job, worker.attempt, number)
            case "finish":
                return said.finished(number)
            case "fail":
                return said.Failed(code="internal_error", message="x")
        return said.Stopped(reason=kind, step=number)

    @precondition(lambda self: self.workers)
    @rule(pick=PICK, outcome=st.sampled_from(["requeue", "lost"]))
    def release(self, pick, outcome):
        self.as_worker(
            pick,
            lambda w, job: leases.job_release(job=job, attempt=w.attempt, outcome=outcome, message="m", now=self.now),
        )

    @rule(
        verb=st.sampled_from([services.job_pause, services.job_resume, services.job_cancel, services.job_finish_early])
    )
    def user(self, verb):
        before = snapshot(self.row())
        try:
            verb(job=self.row(), now=self.now)
        except InvalidRequest:  # the only error a user may meet here, and then nothing has changed
            assert snapshot(self.row()) == before

    @rule(twice=st.booleans())
    def tick(self, twice):
        for _ in range(1 + twice):
            jobs_reap(now=self.now)
            jobs_dispatch(now=self.now)

    @invariant()
    def promises(self):
        row = self.row()
        before, self.last = self.last, row
        assert row.attempt >= before.attempt, "the fence went back"
        assert (row.lease_until is not None) == (row.status in LEASED)
        assert (row.finished_at is not None) == (row.status in TERMINAL)
        if before.status in TERMINAL:
            assert snapshot(row) == snapshot(before), "something changed after the end"
        if row.status != before.status and row.attempt == before.attempt:
            assert reachable(before.status, row.status), f"{before.status} -> {row.status}"
        seqs = list(JobEvent.objects.filter(job=row).order_by("seq").values_list("seq", flat=True))
        assert seqs == list(range(1, row.event_seq + 1))
        ends = JobEvent.objects.filter(job=row, message="The job has successfully completed").count()
        assert ends == (row.status == Status.SUCCEEDED)
        if row.status == Status.QUEUED:
            assert row.dispatch_after is not None, "nobody would ever wake a worker"


def snapshot(row):
    names = [field.attname for field in row._meta.concrete_fields if field.name != "swept"]
    return {name: getattr(row, name) for name in names}


def reachable(before, after, depth=2):
    """A rule may make a few changes one after the other."""
    targets = TRANSITIONS[Status(before)]
    return after in targets or (depth > 0 and any(reachable(target, after, depth - 1) for target in targets))


@pytest.fixture
def machine(queued, said):
    """Each example begins with a fresh job; all live in the one transaction of the test."""
    fields = {}

    def make_job():
        if not fields:
            job = queued()
            fields.update(training_file=job.training_file, validation_file=job.validation_file)
            return job
        return queued(**fields)

    return type("BoundMachine", (Machine,), {"make_job": staticmethod(make_job), "said": said})


SETTINGS = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


def test_no_order_of_calls_breaks_a_promise(machine):
    run_state_machine_as_test(machine, settings=SETTINGS)


def test_the_machine_finds_a_missing_fence(machine, monkeypatch):
    """The proof that the test above can fail: heartbeats and tokens that ignore the attempt are found out."""

    def careless_job(*, job_id, attempt, token):
        return Job.objects.get(public_id=job_id)

    def careless_beat(*, job, attempt, now):
        Job.objects.filter(pk=job.pk, status__in=LEASED).update(lease_until=now + timedelta(seconds=30))
        return leases.answer(job)

    monkeypatch.setattr(leases, "job_of_attempt", careless_job)
    monkeypatch.setattr(leases, "job_heartbeat", careless_beat)
    quick = settings(SETTINGS, max_examples=200, phases=[Phase.generate])
    with pytest.raises(AssertionError, match="a stale worker was believed"):
        run_state_machine_as_test(machine, settings=quick)
