"""`POST /v1/fettle/preflight`: its request, its creation, and how it is shown. It runs as a job does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from fettle_graders.spec import masked
from fettle_platform.accounts.scoping import Scope
from fettle_platform.core.errors import InvalidRequest
from fettle_platform.jobs.models import Job
from fettle_platform.jobs.requests import ParsedJob, parse_job_request, read_model
from fettle_platform.jobs.services import frozen_spec
from fettle_platform.jobs.states import Desired, Purpose, Status
from fettle_platform.jobs.transitions import Note, append_events
from fettle_platform.jobs.wake import wake_tick
from fettle_platform.jobs.wire import resolved_hyperparameters, unix
from fettle_platform.registry import selectors as registry
from fettle_workers.contract.preflight import PreflightSettings
from fettle_workers.contract.spec import ReinforcementMethod, TrainSpec

_OWN = tuple(PreflightSettings.model_fields)


@dataclass(frozen=True)
class ParsedPreflight:
    """A valid request: the job it is about, and how much to ask."""

    job: ParsedJob
    settings: PreflightSettings


def parse_preflight_request(data: object, *, grader_version: str | None = None) -> ParsedPreflight:
    """The body of a job, and beside it `num_rows`, `samples_per_row`, `pass_threshold`.

    Raises:
        InvalidRequest: as for a job; or the job is not a reinforcement job.
    """
    fields = data if isinstance(data, Mapping) else {}
    own = {name: fields[name] for name in _OWN if fields.get(name) is not None}
    rest = {name: value for name, value in fields.items() if name not in _OWN} if fields else data
    settings = read_model(PreflightSettings, own)
    job = parse_job_request(rest, grader_version=grader_version)
    if not isinstance(job.method, ReinforcementMethod):
        raise InvalidRequest(
            "A preflight is for reinforcement fine-tuning: it grades the model's own answers. "
            "Give `method` with `type: reinforcement`.",
            param="method.type",
        )
    if job.request.fettle.preflight_id is not None:
        raise InvalidRequest(
            "A preflight takes no other one over; leave `fettle.preflight_id` out.", param="fettle.preflight_id"
        )
    return ParsedPreflight(job, settings)


@transaction.atomic
def preflight_create(*, scope: Scope, parsed: ParsedPreflight, now: datetime) -> Job:
    """Store it; the tick checks its files next.

    Raises:
        InvalidRequest: a file cannot be used; `param` names it.
        NotFound: there is no such model.
    """
    request = parsed.job.request
    served = registry.served_model(scope, request.model)
    spec = frozen_spec(scope, parsed.job, served, prefix="preflight-")
    spec = spec.model_copy(update={"preflight": parsed.settings})
    job = Job.objects.create(
        public_id=spec.job_id,
        purpose=Purpose.PREFLIGHT,
        project=scope.project,
        created_at=now,
        model=request.model,
        fine_tuned_name=spec.job_id,  # unique, and never the name of a model: a preflight makes none
        init_adapter=served.adapter_digest or "",
        method=spec.method.type,
        spec=spec.model_dump(mode="json"),
        training_file=request.training_file,
        validation_file=request.validation_file,
        seed=spec.seed,
        suffix=request.suffix,
        metadata=request.metadata,
        grader_version=parsed.job.grader_version,
    )
    append_events(job, [Note(f"Created preflight: {job.public_id}")], now=now)
    transaction.on_commit(wake_tick)
    return job


def preflight_to_wire(job: Job, *, with_rows: bool = True) -> dict[str, Any]:
    """In lists the report comes without its rows, of which there may be a thousand."""
    spec = TrainSpec.model_validate(job.spec)
    method, settings = spec.method, spec.preflight or PreflightSettings()
    assert isinstance(method, ReinforcementMethod)
    report = job.report
    if report is not None and not with_rows:
        report = {name: value for name, value in report.items() if name != "rows"} | {"rows": []}
    return {
        "id": job.public_id,
        "object": "fettle.preflight",
        "created_at": unix(job.created_at),
        "finished_at": unix(job.finished_at),
        "status": job.status,
        "phase": _phase(job),
        "model": job.model,
        "base_model": spec.base_model,
        "training_file": job.training_file,
        "validation_file": job.validation_file,
        "validation_split": spec.validation_split,
        "seed": job.seed,
        "method": {
            "type": method.type,
            method.type: {
                "grader": masked(method.grader),
                "hyperparameters": resolved_hyperparameters(spec, job.plan),
                "response_format": method.response_format,
            },
        },
        "grader_version": job.grader_version,
        "metadata": job.metadata,
        **settings.model_dump(),
        "plan": job.plan,
        "verdict": report["verdict"] if report else None,
        "summary": report["summary"] if report else None,
        "report": report,
        "error": {"code": job.error_code, "message": job.error_message, "param": job.error_param}
        if job.error_code
        else None,
    }


def _phase(job: Job) -> str:
    match Status(job.status):
        case Status.VALIDATING_FILES:
            return "Reading and checking the data files."
        case Status.QUEUED:
            return "Waiting for a worker."
        case Status.SUCCEEDED:
            return "Done; `report` says whether a job would learn."
        case Status.FAILED:
            return "Failed; `error` says why and what to do."
        case Status.CANCELLED:
            return "Cancelled."
    if job.desired == Desired.CANCEL:
        return "Stopping."
    if job.training_since is None:
        return "A worker has taken it and is loading model and data."
    return "The base answers and is graded."
