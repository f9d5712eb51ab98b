"""Jobs, events and checkpoints as JSON: the OpenAI fields, and one `fettle` object for what they have no name for."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fettle_graders.spec import masked
from fettle_platform.jobs.models import Checkpoint, Job, JobEvent, JobStep
from fettle_platform.jobs.states import Desired, Status, phase_in_words
from fettle_platform.registry.services import checkpoint_name
from fettle_workers.contract.events import Evaluation
from fettle_workers.contract.spec import ReinforcementMethod, TrainSpec

Wire = dict[str, Any]

_SELECTION_SUMMARY = (
    "verdict",
    "chosen_step",
    "rule",
    "base_mean",
    "chosen_mean",
    "gain",
    "gain_low",
    "gain_high",
    "confidence",
    "num_items",
    "samples_per_item",
    "in_sample",
    "measured_on",
    "kl_nats",
)


def job_to_wire(job: Job) -> Wire:
    spec = TrainSpec.model_validate(job.spec)
    hyperparameters = resolved_hyperparameters(spec, job.plan)
    succeeded = job.status == Status.SUCCEEDED
    return {
        "id": job.public_id,
        "object": "fine_tuning.job",
        "created_at": unix(job.created_at),
        "finished_at": unix(job.finished_at),
        "model": job.model,
        "fine_tuned_model": job.fine_tuned_name if succeeded else None,
        "organization_id": job.project.organization.public_id,
        "status": job.status,
        "training_file": job.training_file,
        "validation_file": job.validation_file,
        "result_files": [job.result_file] if job.result_file else [],
        "trained_tokens": job.trained_tokens,
        "estimated_finish": unix(job.estimated_finish),
        "error": _error(job),
        "hyperparameters": hyperparameters if job.method == "supervised" else {},
        "method": {"type": job.method, job.method: _method(spec, hyperparameters)},
        "integrations": job.integrations,
        "seed": job.seed,
        "metadata": job.metadata,
        "user_provided_suffix": job.suffix,
        "fettle": _fettle(job, spec),
    }


def _error(job: Job) -> Wire | None:
    if not job.error_code:
        return None
    return {"code": job.error_code, "message": job.error_message, "param": job.error_param}


def _method(spec: TrainSpec, hyperparameters: Wire) -> Wire:
    """Secrets in the grader's headers are masked."""
    if not isinstance(spec.method, ReinforcementMethod):
        return {"hyperparameters": hyperparameters}
    echo = {"grader": masked(spec.method.grader), "hyperparameters": hyperparameters}
    if spec.method.response_format is not None:
        echo["response_format"] = spec.method.response_format
    return echo


# A multiplier on `auto` leaves what it multiplies as it is; the plan holds only the products.
_NEUTRAL = {"learning_rate_multiplier": 1.0, "compute_multiplier": 1.0}


def resolved_hyperparameters(spec: TrainSpec, plan: Wire | None) -> Wire:
    """As asked for; what was `auto` as the plan resolved it, once there is one."""
    asked = spec.method.hyperparameters.model_dump(mode="json")
    known = {} if plan is None else _NEUTRAL | {name: value for name, value in plan.items() if value is not None}
    return {name: known.get(name, value) if value == "auto" else value for name, value in asked.items()}


def _fettle(job: Job, spec: TrainSpec) -> Wire:
    selection = job.selection or {}
    return {
        "phase": phase_in_words(
            Status(job.status),
            Desired(job.desired),
            step=job.step,
            total_steps=job.total_steps,
            started=job.training_since is not None,
        ),
        "attempt": job.attempt,
        "step": job.step,
        "total_steps": job.total_steps,
        "base_model": spec.base_model,
        "validation_split": spec.validation_split,
        "preflight_id": job.preflight,
        "grader_version": job.grader_version,
        "file_digests": {
            "training": spec.training_file.sha256,
            "validation": spec.validation_file.sha256 if spec.validation_file else None,
        },
        "requested": spec.method.hyperparameters.model_dump(mode="json"),
        "plan": job.plan,
        "judge_usage": job.judge_usage,
        "verdict": selection.get("verdict"),
        "selection": {key: selection[key] for key in _SELECTION_SUMMARY} if selection else None,
    }


def event_to_wire(event: JobEvent) -> Wire:
    return {
        "id": event.public_id,
        "object": "fine_tuning.job.event",
        "created_at": unix(event.created_at),
        "level": event.level,
        "message": event.message,
        "type": event.type,
        "data": event.data,
        "fettle": {"seq": event.seq},
    }


def checkpoint_to_wire(checkpoint: Checkpoint) -> Wire:
    return {
        "id": checkpoint.public_id,
        "object": "fine_tuning.job.checkpoint",
        "created_at": unix(checkpoint.created_at),
        "fine_tuned_model_checkpoint": checkpoint_name(checkpoint.job.fine_tuned_name, checkpoint.step),
        "fine_tuning_job_id": checkpoint.job.public_id,
        "step_number": checkpoint.step,
        "metrics": checkpoint.metrics,
        "fettle": {"chosen": checkpoint.chosen, "adapter_digest": checkpoint.adapter_digest},
    }


def selection_to_wire(job: Job) -> Wire:
    return {"object": "fettle.selection", "fine_tuning_job_id": job.public_id, **(job.selection or {})}


def evaluation_to_wire(row: JobStep) -> Wire:
    """One column of the per-item table: how each held-out row did at this step."""
    evaluation = Evaluation.model_validate(row.evaluation)
    return {
        "id": evaluation_id(row.step),
        "object": "fettle.evaluation",
        **evaluation.model_dump(mode="json", exclude_none=True, exclude={"item_means"}),
        "items": [{"row": index, "mean": mean} for index, mean in enumerate(evaluation.item_means)],
    }


def evaluation_id(step: int) -> str:
    return f"step-{step}"


def unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
