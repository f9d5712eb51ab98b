"""The only writers of `Job.status`, and of events. All are conditional updates: any caller may be late or doubled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F

from fettle_platform.jobs.dispatch import announce_on_commit
from fettle_platform.jobs.models import Job, JobEvent
from fettle_platform.jobs.states import LEASED, TERMINAL, Desired, Purpose, Status, sources_of
from fettle_platform.webhooks.services import event_record

REDISPATCH_S = 30.0
"""A queued job whose wake-up was lost is announced again after this long."""


@dataclass(frozen=True)
class Note:
    """An event to append to a job. `attempt` and `sequence` name the worker's event it was made from."""

    message: str
    level: str = "info"
    type: str = "message"
    data: dict[str, Any] | None = None
    attempt: int | None = None
    sequence: int | None = None


def hold(**conditions: Any) -> Job | None:
    """Lock the one row that fits, for the rest of the surrounding transaction, and read it. None: no row fits.

    An update that changes nothing locks on every database, where SELECT FOR UPDATE is silently nothing on SQLite.
    """
    if not Job.objects.filter(**conditions).update(attempt=F("attempt")):
        return None
    return Job.objects.filter(**conditions).first()


def move(
    job: Job,
    target: Status,
    *,
    now: datetime,
    sources: frozenset[Status] | None = None,
    notes: Iterable[Note] = (),
    guard: dict[str, Any] | None = None,
    changes: dict[str, Any] | None = None,
) -> bool:
    """Change the status if the row still is as `job` was read: same attempt, a status that may go to `target`.

    Args:
        sources: only from these states; all of them must lead to `target` in the table.
        guard: further conditions of the update, as filter arguments.
        changes: further columns to set.

    Returns:
        False when the row has moved on: nothing was written.
    """
    allowed = sources_of(target)
    if sources is not None and not sources <= allowed:
        raise ValueError(f"no transition from {sorted(sources - allowed)} to {target}")
    values: dict[str, Any] = {"status": target}
    if target not in LEASED:
        values["lease_until"] = None
    if target in TERMINAL:
        values |= {"finished_at": now, "dispatch_after": None, "estimated_finish": None}
    values |= changes or {}
    with transaction.atomic():
        rows = Job.objects.filter(
            pk=job.pk, attempt=job.attempt, status__in=allowed if sources is None else sources, **guard or {}
        ).update(**values)
        if rows:
            append_events(job, notes, now=now)
            if target in TERMINAL and job.purpose == Purpose.TRAIN:
                kind = f"fine_tuning.job.{target}"
                event_record(project_id=job.project_id, event_type=kind, object_id=job.public_id, now=now)
    return bool(rows)


def queue(
    job: Job,
    *,
    now: datetime,
    sources: frozenset[Status],
    notes: Iterable[Note] = (),
    guard: dict[str, Any] | None = None,
    changes: dict[str, Any] | None = None,
    delay_s: float = 0,
) -> bool:
    """Put the job (back) in the queue. Unless it comes from validation this begins a new attempt, fencing the old."""
    attempt = job.attempt if sources == {Status.VALIDATING_FILES} else job.attempt + 1
    values = {
        "attempt": attempt,
        "desired": Desired.FINISH if job.desired == Desired.FINISH else Desired.RUN,
        "dispatch_after": now + timedelta(seconds=delay_s or REDISPATCH_S),
        "training_since": None,
        "estimated_finish": None,
    }
    with transaction.atomic():
        moved = move(
            job, Status.QUEUED, now=now, sources=sources, notes=notes, guard=guard, changes=values | (changes or {})
        )
        if moved and not delay_s:
            announce_on_commit(job.public_id, attempt)
    return moved


def job_fail(
    job: Job,
    *,
    now: datetime,
    code: str,
    message: str,
    sources: frozenset[Status],
    param: str | None = None,
    notes: Iterable[Note] = (),
    changes: dict[str, Any] | None = None,
) -> bool:
    """End a job in `failed`, with the reason on the job and as its last event."""
    error = {"error_code": code, "error_message": message, "error_param": param}
    last = Note(message, level="error", data={"code": code, "param": param})
    return move(job, Status.FAILED, now=now, sources=sources, notes=[*notes, last], changes=error | (changes or {}))


def append_events(job: Job, notes: Iterable[Note], *, now: datetime) -> list[JobEvent]:
    """Append in order, inside the caller's transaction.

    The counter on the job's row is raised first: that locks the row until the commit, so a smaller `seq` can never
    appear after a larger one was seen.
    """
    pending = list(notes)
    if not pending:
        return []
    Job.objects.filter(pk=job.pk).update(event_seq=F("event_seq") + len(pending))
    last = Job.objects.values_list("event_seq", flat=True).get(pk=job.pk)
    first = last - len(pending) + 1
    return JobEvent.objects.bulk_create(
        JobEvent(
            job=job,
            seq=first + index,
            created_at=now,
            level=note.level,
            type=note.type,
            message=note.message,
            data=note.data,
            attempt=note.attempt,
            sequence=note.sequence,
        )
        for index, note in enumerate(pending)
    )
