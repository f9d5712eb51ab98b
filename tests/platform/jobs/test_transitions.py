"""The table of states is the law: every way that is not in it is refused, and a late writer changes nothing."""

import pytest

from fettle_platform.jobs import services
from fettle_platform.jobs.models import Job, JobEvent
from fettle_platform.jobs.states import TERMINAL, TRANSITIONS, Desired, Status, phase_in_words, sources_of
from fettle_platform.jobs.transitions import Note, move


def test_nothing_leaves_an_end_and_everything_else_can_be_cancelled():
    assert {status for status in Status if not TRANSITIONS[status]} == TERMINAL
    assert sources_of(Status.CANCELLED) == frozenset(Status) - TERMINAL


@pytest.mark.parametrize("target", list(Status))
@pytest.mark.parametrize("source", list(Status))
def test_a_way_that_is_not_in_the_table_is_refused(queued, said, source, target):
    if target in TRANSITIONS[source]:
        assert source in sources_of(target)
        return
    with pytest.raises(ValueError, match="no transition"):
        move(Job(), target, now=said.now, sources=frozenset({source}))


def test_a_row_read_before_a_new_attempt_changes_nothing(queued, said):
    """Between a claim's look and its write the job was paused and resumed: queued again, but in another attempt."""
    job = queued()
    seen = Job.objects.get(pk=job.pk)
    services.job_pause(job=job, now=said.now)
    services.job_resume(job=job, now=said.now)
    before = JobEvent.objects.filter(job=job).count()
    lease = {"lease_until": said.now}
    queue = frozenset({Status.QUEUED})
    assert move(seen, Status.RUNNING, now=said.now, sources=queue, changes=lease, notes=[Note("x")]) is False
    job.refresh_from_db()
    assert (job.status, job.attempt) == ("queued", 2)
    assert JobEvent.objects.filter(job=job).count() == before


def test_a_row_that_moved_on_changes_nothing(queued, said):
    job = queued()
    seen = Job.objects.get(pk=job.pk)
    services.job_cancel(job=job, now=said.now)
    assert move(seen, Status.PAUSED, now=said.now) is False
    job.refresh_from_db()
    assert job.status == "cancelled"


def test_every_state_is_said_in_words():
    words = {
        phase_in_words(status, desired, step=step, total_steps=8, started=started)
        for status in Status
        for desired in Desired
        for step in (0, 4, 8)
        for started in (False, True)
    }
    assert all(sentence.endswith(".") for sentence in words)
    assert "Training: 4 of 8 steps are done." in words
