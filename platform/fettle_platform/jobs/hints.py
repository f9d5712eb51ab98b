"""Which jobs changed since the last look. Says no more than that: what is new, the reader asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Max, Q

from fettle_platform.jobs.models import Job
from fettle_platform.jobs.states import TERMINAL, Status

_ALIVE = sorted(set(Status) - TERMINAL)
# Whatever a job's pages show is written together with a change of one of these.
_TELLTALES = ("status", "desired", "attempt", "step", "worker_sequence", "event_seq")


@dataclass(frozen=True)
class Change:
    project_pk: int
    job_id: str
    status: str


class JobWatch:
    """Call it again and again. One query, of the jobs that are not over, were not at the last look, or are new."""

    def __init__(self) -> None:
        self._alive: dict[int, list[Any]] = {}
        self._newest: int | None = None

    def __call__(self) -> list[Change]:
        """What changed since the call before; nothing at the first."""
        first = self._newest is None
        newest = (Job.objects.aggregate(newest=Max("pk"))["newest"] or 0) if self._newest is None else self._newest
        wanted = Q(status__in=_ALIVE) | Q(pk__in=list(self._alive)) | Q(pk__gt=newest)
        alive, changes = {}, []
        columns = ("pk", "project_id", "public_id", *_TELLTALES)
        for pk, project_pk, job_id, *telltales in Job.objects.filter(wanted).values_list(*columns):
            newest = max(newest, pk)
            if telltales[0] in _ALIVE:
                alive[pk] = telltales
            if not first and self._alive.get(pk) != telltales:
                changes.append(Change(project_pk, job_id, telltales[0]))
        self._alive, self._newest = alive, newest
        return changes
