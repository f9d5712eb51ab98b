"""The end of a job that worked: selection, model, result file and status, all or nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fettle_platform.datasets.models import Purpose
from fettle_platform.datasets.services import file_create
from fettle_platform.jobs.checkpoints import keep_best
from fettle_platform.jobs.metrics import results_csv
from fettle_platform.jobs.models import Checkpoint, Job
from fettle_platform.jobs.selectors import step_records
from fettle_platform.jobs.states import LEASED, Status
from fettle_platform.jobs.transitions import Note, move
from fettle_platform.registry import services as registry
from fettle_workers.contract.events import Finished, Selection


def job_finish(job: Job, event: Finished, *, origin: tuple[int, int], now: datetime) -> None:
    """Inside the caller's transaction. A store that is away undoes everything, and the event can be sent again.

    Raises:
        StoreUnavailable: the result file could not be written.
    """
    selection = event.selection
    Checkpoint.objects.filter(job=job, step=selection.chosen_step).update(chosen=True)
    keep_best(job, now=now)
    registry.model_register(
        project=job.project,
        public_id=job.fine_tuned_name,
        base_model=job.spec["base_model"],
        adapter_digest=selection.chosen_adapter_digest,
        job_id=job.public_id,
        step=selection.chosen_step,
        is_checkpoint=False,
        parent=job.model,
        details={"selection": _summary(selection)},
        now=now,
    )
    content = results_csv(step_records(job), method=job.method)
    result_file = file_create(
        project=job.project,
        purpose=Purpose.FINE_TUNE_RESULTS,
        filename=f"{job.public_id}_results.csv",
        source=content,
    )
    move(
        job,
        Status.SUCCEEDED,
        now=now,
        sources=LEASED,
        notes=_last_words(job, event, origin),
        changes={
            "selection": selection.model_dump(mode="json"),
            "trained_tokens": event.trained_tokens,
            "result_file": result_file.public_id,
        },
    )


def _last_words(job: Job, event: Finished, origin: tuple[int, int]) -> list[Note]:
    selection = event.selection
    numbers = (
        f"from {selection.base_mean:.4f} to {selection.chosen_mean:.4f}, a gain of {selection.gain:+.4f} "
        f"({selection.confidence:.0%} confidence interval {selection.gain_low:+.4f} to {selection.gain_high:+.4f})"
    )
    data = {"step": selection.chosen_step, "verdict": selection.verdict, "rule": selection.rule}
    if selection.verdict == "improved":
        verdict = Note(f"The held-out score improved {numbers}. Delivered: step {selection.chosen_step}.", data=data)
    else:
        verdict = Note(
            f"No measurable gain: {numbers}. Delivered: step {selection.chosen_step}, which is no worse than what the "
            "job started from.",
            level="warn",
            data=data,
        )
    ended = Note(f"Training ended: {event.reason}", attempt=origin[0], sequence=origin[1])
    created = Note(f"New fine-tuned model created: {job.fine_tuned_name}")
    return [ended, verdict, created, Note("The job has successfully completed")]


def _summary(selection: Selection) -> dict[str, Any]:
    return selection.model_dump(mode="json", exclude={"candidates", "examples", "table"})
