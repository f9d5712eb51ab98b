"""What workers report: each event of the current attempt is taken once, in order, together with all its effects."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import singledispatch
from typing import Any

from django.conf import settings
from django.db import transaction

from fettle_graders.services import TokenUsage, total_usage
from fettle_platform.jobs import metrics
from fettle_platform.jobs.checkpoints import checkpoint_commit, checkpoint_measure, index_final_rollouts
from fettle_platform.jobs.finish import job_finish
from fettle_platform.jobs.leases import answer, attempt_over, stop
from fettle_platform.jobs.models import Job, JobStep
from fettle_platform.jobs.selectors import read_evaluation, read_metrics
from fettle_platform.jobs.states import LEASED, Desired, Status
from fettle_platform.jobs.transitions import Note, append_events, hold, job_fail, move
from fettle_workers.contract import events as contract
from fettle_workers.contract.internal import HeartbeatResponse, SequencedEvent

log = logging.getLogger(__name__)


def job_apply_events(*, job: Job, attempt: int, events: Sequence[SequencedEvent], now: datetime) -> HeartbeatResponse:
    """Apply a batch in one transaction; a repeat changes nothing. Also extends the lease.

    Raises:
        Gone: the attempt is over, or has ended by an earlier event.
        StoreUnavailable: the result file could not be written. Nothing was applied: send the batch again.
    """
    ordered = sorted(events, key=lambda entry: entry.sequence)
    with transaction.atomic():
        held = hold(pk=job.pk, attempt=attempt)
        if held is None:
            raise attempt_over()
        fresh = [entry for entry in ordered if entry.sequence > held.worker_sequence]
        if held.status in LEASED:
            lease = now + timedelta(seconds=settings.FETTLE.lease_s)
            Job.objects.filter(pk=held.pk).update(lease_until=lease)
        elif fresh:
            raise attempt_over()
        for entry in fresh:
            _take(held, entry, now=now)
            held.refresh_from_db()
            if held.status not in LEASED or held.attempt != attempt:
                break  # a terminal event ends the attempt; nothing may follow it
    return answer(job)


def _take(job: Job, entry: SequencedEvent, *, now: datetime) -> None:
    """One event and its effects. Notes made from it carry its number, which the database accepts once."""
    Job.objects.filter(pk=job.pk).update(worker_sequence=entry.sequence)
    _apply(entry.event, job, (job.attempt, entry.sequence), now)


@singledispatch
def _apply(event: object, job: Job, origin: tuple[int, int], now: datetime) -> None:
    raise TypeError(f"no rule for the event {type(event).__name__}")


@_apply.register
def _(event: contract.Started, job: Job, origin: tuple[int, int], now: datetime) -> None:
    """Steps after the point the trainer goes on from are done again; what was measured there goes first."""
    resumed = event.resumed_from_step
    again = JobStep.objects.filter(job=job)
    if resumed is not None:
        again = again.filter(step__gt=resumed)
    again.delete()
    Job.objects.filter(pk=job.pk).update(
        plan=event.plan, total_steps=event.total_steps, training_since=now, step=resumed or 0
    )
    noun = job.noun.capitalize()
    message = f"{noun} started" if resumed is None else f"{noun} goes on from step {resumed}"
    _note(job, Note(message, data={"plan": event.plan, "resumed_from_step": resumed}), origin, now)


@_apply.register
def _(event: contract.Message, job: Job, origin: tuple[int, int], now: datetime) -> None:
    data = event.model_dump(include={"code", "step", "values"}, exclude_none=True, exclude_defaults=True) or None
    _note(job, Note(event.message, level=event.level, data=data), origin, now)


@_apply.register
def _(event: contract.StepDone, job: Job, origin: tuple[int, int], now: datetime) -> None:
    """Time spent on an evaluation says that its result belongs to this step: one metrics event shall show both."""
    measured = event.metrics
    before = JobStep.objects.filter(job=job, step__lt=measured.step).order_by("-step").values_list("elapsed_s").first()
    values = {
        "metrics": measured.model_dump(mode="json", exclude_none=True),
        "elapsed_s": (before[0] if before else 0.0) + measured.timing.total_s,
    }
    record, _ = JobStep.objects.update_or_create(job=job, step=measured.step, defaults=values)
    finish = None if measured.eta_s is None else now + timedelta(seconds=measured.eta_s)
    Job.objects.filter(pk=job.pk).update(
        step=measured.step,
        step_reached=max(job.step_reached, measured.step),
        total_steps=measured.total_steps,
        estimated_finish=finish,
    )
    _count_judges(job, [grader.train_usage for grader in measured.graders])
    checkpoint_measure(job, measured.step, now=now)
    if record.evaluation is not None or not measured.timing.eval_s:
        _note_metrics(job, measured.step, measured.total_steps, origin, now)


@_apply.register
def _(event: contract.EvaluationDone, job: Job, origin: tuple[int, int], now: datetime) -> None:
    """Reported before its step it waits for it; otherwise the step was waiting, or is shown again with the result."""
    step = event.evaluation.step
    JobStep.objects.update_or_create(
        job=job, step=step, defaults={"evaluation": event.evaluation.model_dump(mode="json", exclude_none=True)}
    )
    _count_judges(job, [grader.valid_usage for grader in event.evaluation.graders])
    checkpoint_measure(job, step, now=now)
    if step <= job.step:
        _note_metrics(job, step, job.total_steps, origin, now)


def _count_judges(job: Job, parts: list[dict[str, TokenUsage]]) -> None:
    """Steps that are done again after an interruption count again: their judges were asked again."""
    found = total_usage(parts)
    if found:
        known = {model: TokenUsage.model_validate(tokens) for model, tokens in job.judge_usage.items()}
        job.judge_usage = {model: tokens.model_dump() for model, tokens in total_usage([known, found]).items()}
        Job.objects.filter(pk=job.pk).update(judge_usage=job.judge_usage)


@_apply.register
def _(event: contract.CheckpointCommitted, job: Job, origin: tuple[int, int], now: datetime) -> None:
    checkpoint = checkpoint_commit(job, event, now=now)
    if event.candidate:
        data = {"checkpoint_id": checkpoint.public_id, "step": event.step}
        _note(job, Note(f"Checkpoint created at step {event.step}", data=data), origin, now)


@_apply.register
def _(event: contract.RolloutsStored, job: Job, origin: tuple[int, int], now: datetime) -> None:
    index_final_rollouts(job, event)


@_apply.register
def _(event: contract.Finished, job: Job, origin: tuple[int, int], now: datetime) -> None:
    job_finish(job, event, origin=origin, now=now)


@_apply.register
def _(event: contract.Preflighted, job: Job, origin: tuple[int, int], now: datetime) -> None:
    report = event.report
    changes = {
        "report": report.model_dump(mode="json"),
        "step0": event.step0.model_dump(mode="json") if event.step0 else None,
    }
    said = _from_worker(Note(report.summary, data={"verdict": report.verdict}), origin)
    move(job, Status.SUCCEEDED, now=now, sources=LEASED, notes=[said], changes=changes)


@_apply.register
def _(event: contract.Failed, job: Job, origin: tuple[int, int], now: datetime) -> None:
    if event.code in contract.JOB_ERROR_CODES:
        code = event.code
    else:
        log.error("job %s failed with the unpublished code %s", job.public_id, event.code)
        code = "internal_error"
    job_fail(job, now=now, code=code, message=event.message, param=event.param, sources=LEASED)


@_apply.register
def _(event: contract.Stopped, job: Job, origin: tuple[int, int], now: datetime) -> None:
    """The user's last wish counts: who asked to pause and then to cancel gets a cancelled job."""
    said = Note(f"Training stopped at step {event.step}.")
    attempt = origin[0]
    match event.reason:
        case "preempted":
            said = Note(f"The worker is shutting down; training stopped at step {event.step}.")
            stop(job, attempt=attempt, now=now, note=said)
        case "paused" if job.desired != Desired.CANCEL:
            notes = [said, Note("Fine-tuning job paused.")]
            move(job, Status.PAUSED, now=now, sources=LEASED, notes=notes, changes={"desired": Desired.PAUSE})
        case _:
            notes = [said, Note(f"{job.noun.capitalize()} cancelled.")]
            move(job, Status.CANCELLED, now=now, sources=LEASED, notes=notes)


def _note(job: Job, note: Note, origin: tuple[int, int], now: datetime) -> None:
    append_events(job, [_from_worker(note, origin)], now=now)


def _from_worker(note: Note, origin: tuple[int, int]) -> Note:
    return Note(note.message, level=note.level, type=note.type, data=note.data, attempt=origin[0], sequence=origin[1])


def _note_metrics(job: Job, step: int, total_steps: int | None, origin: tuple[int, int], now: datetime) -> None:
    record = JobStep.objects.get(job=job, step=step)
    measured: tuple[Any, Any] = (read_metrics(record.metrics), read_evaluation(record.evaluation))
    message = metrics.event_message(step, total_steps, *measured, method=job.method)
    data = metrics.event_data(step, total_steps, *measured, method=job.method)
    _note(job, Note(message, type="metrics", data=data), origin, now)
