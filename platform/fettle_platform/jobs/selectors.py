"""Reads of jobs, always through the caller's scope."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence

from django.db.models import Q, QuerySet

from fettle_platform.accounts.scoping import Scope, ScopedQuerySet
from fettle_platform.core.errors import InvalidRequest
from fettle_platform.jobs.metrics import StepRecord
from fettle_platform.jobs.models import Checkpoint, Job, JobEvent, JobStep, RolloutFile
from fettle_platform.jobs.states import Purpose
from fettle_workers.contract.events import Evaluation, StepMetrics


def job_get(scope: Scope, job_id: str) -> Job:
    """Raises NotFound, also for another project's job."""
    return _with_organization(scope).fetch(job_id, kind="fine-tuning job", code="fine_tune_not_found")


def job_list(scope: Scope, *, query: Mapping[str, str]) -> ScopedQuerySet[Job]:
    """The project's jobs. `metadata[k]=v` keeps those with all these pairs, `metadata=null` those without metadata."""
    jobs = _with_organization(scope)
    for name, value in query.items():
        if name == "metadata":
            if value != "null":
                raise InvalidRequest("metadata must be null, or use metadata[key]=value", param="metadata")
            jobs = jobs.filter(metadata_pairs__isnull=True)
        elif name.startswith("metadata[") and name.endswith("]"):
            key = name.removeprefix("metadata[").removesuffix("]")
            jobs = jobs.filter(metadata_pairs__key=key, metadata_pairs__value=value)
    return jobs


def job_search(
    scope: Scope, *, statuses: Sequence[str] = (), model: str | None = None, text: str | None = None
) -> ScopedQuerySet[Job]:
    """The project's jobs with one of the statuses (none given: any), this model, and this text in a name."""
    jobs = _with_organization(scope)
    if statuses:
        jobs = jobs.filter(status__in=statuses)
    if model:
        jobs = jobs.filter(model=model)
    if text:
        names = ("public_id", "suffix", "model", "fine_tuned_name")
        jobs = jobs.filter(functools.reduce(operator.or_, (Q(**{f"{name}__icontains": text}) for name in names)))
    return jobs


def _with_organization(scope: Scope) -> ScopedQuerySet[Job]:
    return Job.objects.for_project(scope).filter(purpose=Purpose.TRAIN).select_related("project__organization")


def preflight_list(scope: Scope) -> ScopedQuerySet[Job]:
    return Job.objects.for_project(scope).filter(purpose=Purpose.PREFLIGHT)


def preflight_get(scope: Scope, preflight_id: str, *, param: str | None = None) -> Job:
    """Raises NotFound, also for another project's preflight."""
    return preflight_list(scope).fetch(preflight_id, kind="preflight", param=param)


def event_list(
    job: Job, *, after: str | None = None, level: str | None = None, kind: str | None = None, text: str | None = None
) -> QuerySet[JobEvent]:
    """Events of a job; with `after`, that event and older ones. `kind` is their `type`, `text` occurs in the message.

    A page's own condition is an OR, of which PostgreSQL makes no range of the index; this bound is one.
    """
    events = JobEvent.objects.filter(job=job)
    if after:
        events = events.filter(seq__lte=events.filter(public_id=after).values("seq")[:1])
    wanted = {"level": level, "type": kind, "message__icontains": text}
    return events.filter(**{name: value for name, value in wanted.items() if value})


def checkpoint_list(job: Job) -> QuerySet[Checkpoint]:
    """Those that can be served, with the job at hand."""
    return Checkpoint.objects.filter(job=job, kept=True).select_related("job")


def step_records(job: Job) -> list[StepRecord]:
    """What was measured, by ascending step."""
    rows = JobStep.objects.filter(job=job).order_by("step").values_list("step", "metrics", "evaluation")
    return [(step, read_metrics(metrics), read_evaluation(evaluation)) for step, metrics, evaluation in rows]


def evaluation_list(job: Job) -> QuerySet[JobStep]:
    return JobStep.objects.filter(job=job, evaluation__isnull=False)


def rollout_files(job: Job) -> QuerySet[RolloutFile]:
    """In the order they were written: that of the final measurements is the last."""
    return RolloutFile.objects.filter(job=job).order_by("final", "last_step")


def read_metrics(data: object) -> StepMetrics | None:
    return None if data is None else StepMetrics.model_validate(data)


def read_evaluation(data: object) -> Evaluation | None:
    return None if data is None else Evaluation.model_validate(data)
