"""Who works on a job: claim, heartbeat, hand back, and taking it from a worker that fell silent.

Every function here may be called by anybody, any number of times, in any order: what does not fit the row is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from django.conf import settings
from django.db import transaction
from django.utils.crypto import salted_hmac

from fettle_platform.core.errors import Gone
from fettle_platform.jobs.dispatch import announce
from fettle_platform.jobs.models import Checkpoint, Job
from fettle_platform.jobs.states import LEASED, Desired, Status, status_when_stopped
from fettle_platform.jobs.transitions import REDISPATCH_S, Note, hold, job_fail, move, queue
from fettle_workers.contract.events import CheckpointManifest
from fettle_workers.contract.internal import ClaimResponse, HeartbeatResponse, ResumePoint
from fettle_workers.contract.spec import TrainSpec

MAX_LOST_ATTEMPTS = 3
BACK_OFF_S = 5.0


def attempt_over() -> Gone:
    return Gone("This attempt of the job is over: stop, and write nothing more.")


def job_claim(*, job_id: str, attempt: int, worker: str, now: datetime) -> ClaimResponse:
    """Give a queued job to a worker. Of any number of callers exactly one wins.

    Raises:
        Gone: the job is not queued, or in another attempt.
    """
    job = Job.objects.filter(public_id=job_id, attempt=attempt, status=Status.QUEUED).first()
    if job is None:
        raise attempt_over()
    token = secrets.token_urlsafe(32)
    lease_s = settings.FETTLE.lease_s
    claimed = move(
        job,
        Status.RUNNING,
        now=now,
        sources=frozenset({Status.QUEUED}),
        changes={
            "worker": worker[:200],
            "token_hash": token_hash(token),
            "lease_until": now + timedelta(seconds=lease_s),
            "dispatch_after": None,
            "worker_sequence": 0,
            "started_at": job.started_at or now,
        },
        notes=[Note(f"Attempt {attempt} was taken by a worker.", data={"attempt": attempt, "worker": worker[:200]})],
    )
    if not claimed:
        raise attempt_over()
    return ClaimResponse(
        spec=TrainSpec.model_validate(job.spec),
        attempt=attempt,
        token=token,
        lease_s=lease_s,
        judge_token=judge_token(job.public_id, attempt),
        resume=resume_point(job),
    )


def resume_point(job: Job) -> ResumePoint | None:
    """The newest committed training state."""
    newest = Checkpoint.objects.filter(job=job, has_state=True).order_by("-step").first()
    if newest is None:
        return None
    return ResumePoint(
        step=newest.step,
        store_prefix=newest.store_prefix,
        manifest=CheckpointManifest.model_validate(newest.manifest),
    )


def judge_token(job_id: str, attempt: int) -> str:
    """For the judge calls of one attempt. The trainer holds it, so it opens nothing else: no events, no lease."""
    return salted_hmac("fettle.judge", f"{job_id}:{attempt}", algorithm="sha256").hexdigest()


def job_of_judge_call(*, job_id: str, attempt: int, token: str) -> Job:
    """The leased job whose attempt may ask judges with this token. Raises Gone."""
    if not hmac.compare_digest(judge_token(job_id, attempt), token):
        raise attempt_over()
    job = Job.objects.filter(public_id=job_id, attempt=attempt, status__in=LEASED)
    found = job.select_related("project__organization").first()
    if found is None:
        raise attempt_over()
    return found


def token_hash(token: str) -> str:
    """Tokens have 256 random bits, so a plain digest keeps them."""
    return hashlib.sha256(token.encode()).hexdigest()


def job_of_attempt(*, job_id: str, attempt: int, token: str) -> Job:
    """The job whose current attempt this token belongs to.

    Raises:
        Gone: another attempt, or not its token. Both mean the same for the caller: stop.
    """
    job = Job.objects.filter(public_id=job_id).first()
    known = job.token_hash if job else ""
    if job is None or not hmac.compare_digest(known, token_hash(token)) or job.attempt != attempt:
        raise attempt_over()
    return job


def job_heartbeat(*, job: Job, attempt: int, now: datetime) -> HeartbeatResponse:
    """Extend the lease and say what the user wants. A lease that ran out but was not yet reaped is extended too."""
    lease_s = settings.FETTLE.lease_s
    rows = Job.objects.filter(pk=job.pk, attempt=attempt, status__in=LEASED).update(
        lease_until=now + timedelta(seconds=lease_s)
    )
    if not rows:
        raise attempt_over()
    return answer(job)


def answer(job: Job) -> HeartbeatResponse:
    """What every call of a supervisor is answered with: the user's present wish."""
    desired = Job.objects.values_list("desired", flat=True).get(pk=job.pk)
    return HeartbeatResponse(desired=Desired(desired).value, lease_s=settings.FETTLE.lease_s)


def job_release(
    *, job: Job, attempt: int, outcome: Literal["requeue", "lost"], message: str, now: datetime
) -> HeartbeatResponse:
    """The supervisor gives the job back without an end."""
    if outcome == "requeue":
        moved = stop(job, attempt=attempt, now=now, note=Note(f"The worker handed the job back: {message}"))
    else:
        moved = lose(job, attempt=attempt, now=now, reason=f"The trainer ended unexpectedly: {message}")
    if not moved:
        raise attempt_over()
    return answer(job)


def stop(job: Job, *, attempt: int, now: datetime, note: Note) -> bool:
    """A trainer stopped in order: the job goes where the user wants it, else back in the queue for another worker."""
    with transaction.atomic():
        held = hold(pk=job.pk, attempt=attempt, status__in=LEASED)
        return held is not None and _leave(held, now=now, notes=[note])


@dataclass(frozen=True)
class _Loss:
    attempts: int
    step: int


def lose(job: Job, *, attempt: int, now: datetime, reason: str, seen_lease: datetime | None = None) -> bool:
    """A worker fell silent or its trainer died. Losses that follow each other without a new step are counted.

    Args:
        seen_lease: only if the lease still ends then: a heartbeat that came in between wins.
    """
    guard = {} if seen_lease is None else {"lease_until": seen_lease}
    with transaction.atomic():
        held = hold(pk=job.pk, attempt=attempt, status__in=LEASED, **guard)
        if held is None:
            return False
        has_progress = held.step_reached > held.lost_at_step
        loss = _Loss(1 if has_progress else held.lost_attempts + 1, held.step_reached)
        if loss.attempts >= MAX_LOST_ATTEMPTS and held.desired in (Desired.RUN, Desired.FINISH):
            return _give_up(held, loss, now=now, reason=reason)
        note = Note(f"{reason} Attempt {attempt} is lost at step {held.step}.", level="warn")
        return _leave(held, now=now, notes=[note], loss=loss)


def _leave(job: Job, *, now: datetime, notes: list[Note], loss: _Loss | None = None) -> bool:
    """Off the worker. `job` is held by the caller's transaction."""
    changes = {"lost_attempts": loss.attempts, "lost_at_step": loss.step} if loss else {}
    target = status_when_stopped(Desired(job.desired))
    if target is Status.QUEUED:
        notes = [
            *notes,
            Note(f"The {job.noun} waits for a worker and goes on from its last checkpoint, if it has one."),
        ]
        delay_s = BACK_OFF_S * (loss.attempts - 1) if loss else 0.0
        running = frozenset({Status.RUNNING})
        return queue(job, now=now, sources=running, notes=notes, changes=changes, delay_s=delay_s)
    said = f"{job.noun.capitalize()} {target}."
    return move(job, target, now=now, sources=LEASED, notes=[*notes, Note(said)], changes=changes)


def _give_up(job: Job, loss: _Loss, *, now: datetime, reason: str) -> bool:
    message = (
        f"The job was lost {loss.attempts} times without getting past step {loss.step}; it is not tried again. "
        f"The last time: {reason} Read the worker's log for the cause (often memory); a smaller `batch_size` or "
        "`max_completion_tokens` needs less."
    )
    changes = {"lost_attempts": loss.attempts, "lost_at_step": loss.step}
    return job_fail(job, now=now, code="worker_lost", message=message, sources=LEASED, changes=changes)


def jobs_reap(*, now: datetime) -> int:
    """Take every job from its worker whose lease ran out. Returns how many."""
    expired = list(Job.objects.filter(status__in=LEASED, lease_until__lt=now))
    reason = "The worker ({worker}) has not been heard of for {silence} seconds."
    lost = 0
    for job in expired:
        silence = round((now - job.lease_until).total_seconds() + settings.FETTLE.lease_s)
        said = reason.format(worker=job.worker, silence=silence)
        lost += lose(job, attempt=job.attempt, now=now, reason=said, seen_lease=job.lease_until)
    return lost


def jobs_requeue_all(*, now: datetime) -> int:
    """Give back every running job at once, without counting a loss. Returns how many.

    Only for a process that starts the one worker there is, before it starts it: then no lease can be alive, and no
    wake-up either, so that every queued job is announced in the next round.
    """
    note = Note("The server was stopped while the job ran.", level="warn")
    leased = list(Job.objects.filter(status__in=LEASED))
    given_back = sum(stop(job, attempt=job.attempt, now=now, note=note) for job in leased)
    Job.objects.filter(status=Status.QUEUED).update(dispatch_after=now)
    return given_back


def jobs_dispatch(*, now: datetime) -> int:
    """Announce queued jobs whose wake-up is due, each once per round of all tick loops. Returns how many were sent."""
    sent = 0
    due = Job.objects.filter(status=Status.QUEUED, dispatch_after__lte=now).order_by("dispatch_after")[:200]
    for job in due:
        rows = Job.objects.filter(
            pk=job.pk, status=Status.QUEUED, attempt=job.attempt, dispatch_after=job.dispatch_after
        ).update(dispatch_after=now + timedelta(seconds=REDISPATCH_S))
        if rows and not announce(job.public_id, job.attempt):
            break  # the broker is away: the others would only wait for the same time-out
        sent += rows
    return sent
