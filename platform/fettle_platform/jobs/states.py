"""The states of a fine-tuning job and every way from one to another. Nothing else may change a job's status."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """As on the wire. `cancelled` has two l."""

    VALIDATING_FILES = "validating_files"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Purpose(StrEnum):
    """What a run is for. A preflight looks at the base and ends with a report; it is no fine-tuning job to users."""

    TRAIN = "train"
    PREFLIGHT = "preflight"


class Desired(StrEnum):
    """What the user wants of a job; the supervisor reads it with every heartbeat."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"
    FINISH = "finish"


TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})
LEASED = frozenset({Status.RUNNING, Status.PAUSING})
"""A worker holds the job: `lease_until` and the attempt's token are set."""

TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.VALIDATING_FILES: frozenset({Status.QUEUED, Status.FAILED, Status.CANCELLED}),
    Status.QUEUED: frozenset({Status.RUNNING, Status.PAUSED, Status.CANCELLED, Status.FAILED}),
    Status.RUNNING: frozenset(
        {Status.PAUSING, Status.PAUSED, Status.QUEUED, Status.SUCCEEDED, Status.FAILED, Status.CANCELLED}
    ),
    Status.PAUSING: frozenset({Status.PAUSED, Status.SUCCEEDED, Status.FAILED, Status.CANCELLED}),
    Status.PAUSED: frozenset({Status.QUEUED, Status.CANCELLED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}


def sources_of(target: Status) -> frozenset[Status]:
    """The states from which `target` may be entered."""
    return frozenset(status for status, targets in TRANSITIONS.items() if target in targets)


def status_when_stopped(desired: Desired) -> Status:
    """Where a job goes when its trainer has stopped without an end: what the user asked for, else back in the queue."""
    return {Desired.PAUSE: Status.PAUSED, Desired.CANCEL: Status.CANCELLED}.get(desired, Status.QUEUED)


def phase_in_words(status: Status, desired: Desired, *, step: int, total_steps: int | None, started: bool) -> str:
    """One sentence for people: what the job is doing now."""
    match status:
        case Status.VALIDATING_FILES:
            return "Reading and checking the data files."
        case Status.QUEUED if desired in (Desired.RUN, Desired.FINISH) and step:
            return f"Waiting for a worker, which will go on from the last checkpoint (step {step} was reached)."
        case Status.QUEUED:
            return "Waiting for a worker."
        case Status.RUNNING | Status.PAUSING if desired is Desired.CANCEL:
            return "Stopping at the end of the current step."
        case Status.RUNNING if desired is Desired.FINISH:
            return "Making no further steps; measuring the best candidates and choosing among them."
        case Status.PAUSING:
            return "Finishing the current step and saving it, then pausing."
        case Status.RUNNING if not started:
            return "A worker has taken the job and is loading model and data."
        case Status.RUNNING if step == 0:
            return "Measuring the model before training."
        case Status.RUNNING if total_steps and step >= total_steps:
            return "All steps are done; choosing the checkpoint to deliver."
        case Status.RUNNING:
            return f"Training: {step} of {total_steps} steps are done."
        case Status.PAUSED:
            return f"Paused after step {step}. Resume to go on from there."
        case Status.SUCCEEDED:
            return "Done; the model can be used."
        case Status.FAILED:
            return "Failed; `error` says why and what to do."
        case Status.CANCELLED:
            return "Cancelled. Checkpoints made before that are kept."
