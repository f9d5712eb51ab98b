"""What users do with jobs: create, cancel, pause, resume."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from fettle_graders.python_source import line_that_runs_text
from fettle_graders.spec import MultiSpec, PythonSpec
from fettle_platform.accounts.scoping import Scope
from fettle_platform.core.errors import InvalidRequest
from fettle_platform.core.ids import new_id
from fettle_platform.datasets import selectors as datasets
from fettle_platform.datasets.models import File, Purpose
from fettle_platform.graders.services import grader_require_judges, grader_require_loadable
from fettle_platform.jobs.models import Job, JobMetadata
from fettle_platform.jobs.requests import JobRequest, ParsedJob
from fettle_platform.jobs.reuse import take_over
from fettle_platform.jobs.states import LEASED, TERMINAL, Desired, Status
from fettle_platform.jobs.transitions import Note, append_events, hold, move, queue
from fettle_platform.jobs.wake import wake_tick
from fettle_platform.registry import selectors as registry
from fettle_platform.registry.selectors import Served
from fettle_platform.registry.services import new_model_name
from fettle_workers.contract.spec import AdapterRef, DataRef, ReinforcementMethod, TrainSpec

_WANDB = (
    "The wandb integration is kept on the job, but this server sends nothing to Weights & Biases: read the metrics "
    "from the job's events, its checkpoints or its result file."
)


def job_check_grader(*, scope: Scope, parsed: ParsedJob) -> None:
    """Look for its judges, and load what code it consists of; outside of any transaction, as it may take seconds.

    Raises:
        InvalidRequest: `invalid_grader`, a judge is not there or code does not load.
        Unavailable: `sandbox_unavailable`.
    """
    if isinstance(parsed.method, ReinforcementMethod):
        grader, param = parsed.method.grader, "method.reinforcement.grader"
        grader_require_judges(spec=grader, scope=scope, param=param)
        grader_require_loadable(spec=grader, param=param, organization=str(scope.organization.pk))


@transaction.atomic
def job_create(*, scope: Scope, parsed: ParsedJob, now: datetime) -> Job:
    """Freeze everything the training needs into a TrainSpec and store the job; the tick checks its files next.

    Raises:
        InvalidRequest: a file cannot be used; `param` names it.
        NotFound: there is no such model.
    """
    request = parsed.request
    served = registry.served_model(scope, request.model)
    spec = take_over(scope, request.fettle.preflight_id, frozen_spec(scope, parsed, served), request)
    job = Job.objects.create(
        public_id=spec.job_id,
        project=scope.project,
        created_at=now,
        model=request.model,
        fine_tuned_name=new_model_name(
            base_model=served.base_model, organization=scope.organization.name, suffix=request.suffix
        ),
        init_adapter=served.adapter_digest or "",
        method=spec.method.type,
        spec=spec.model_dump(mode="json"),
        training_file=request.training_file,
        validation_file=request.validation_file,
        seed=spec.seed,
        suffix=request.suffix,
        metadata=request.metadata,
        integrations=_integrations(request),
        preflight=spec.step0.preflight_id if spec.step0 else None,
        grader_version=parsed.grader_version,
    )
    JobMetadata.objects.bulk_create(
        JobMetadata(job=job, key=key, value=value) for key, value in (request.metadata or {}).items()
    )
    append_events(job, _first_words(job), now=now)
    transaction.on_commit(wake_tick)
    return job


def frozen_spec(scope: Scope, parsed: ParsedJob, served: Served, *, prefix: str = "ftjob-") -> TrainSpec:
    """Everything that the run needs. Inside a transaction: the files' rows stay locked.

    Raises:
        InvalidRequest: a file cannot be used; `param` names it.
    """
    request = parsed.request
    validation = request.validation_file
    return TrainSpec(
        job_id=new_id(prefix),
        base_model=served.base_model,
        init_adapter=AdapterRef(digest=served.adapter_digest) if served.adapter_digest else None,
        method=parsed.method,
        seed=secrets.randbelow(2**31) if request.seed is None else request.seed,
        training_file=_data_file(scope, request.training_file, "training_file"),
        validation_file=_data_file(scope, validation, "validation_file") if validation else None,
        validation_split=request.fettle.validation_split,
    )


def _first_words(job: Job) -> list[Note]:
    files = ", ".join(file for file in (job.training_file, job.validation_file) if file)
    notes = [Note(f"Created fine-tuning job: {job.public_id}"), Note(f"Validating files: {files}")]
    notes += [Note(_WANDB, level="warn")] if job.integrations else []
    return [*notes, *_advice(TrainSpec.model_validate(job.spec))]


def _advice(spec: TrainSpec) -> Iterator[Note]:
    """On graders that run what the model wrote beside the lines that decide its score."""
    if not isinstance(spec.method, ReinforcementMethod):
        return
    grader = spec.method.grader
    for part in grader.graders.values() if isinstance(grader, MultiSpec) else (grader,):
        line = line_that_runs_text(part.source) if isinstance(part, PythonSpec) else None
        if line is not None:
            message = (
                f"Grader {part.name!r} runs text as code in line {line}. If a completion gets there, it can write its "
                "own grade; the kind `code` judges programs in a process of their own."
            )
            yield Note(message, level="warn", data={"code": "grader_runs_text", "grader": part.name, "line": line})


def _integrations(request: JobRequest) -> list[dict[str, object]] | None:
    if request.integrations is None:
        return None
    return [integration.model_dump(mode="json") for integration in request.integrations]


def job_cancel(*, job: Job, now: datetime) -> None:
    """Waiting jobs end at once; running ones at the end of their current step. Asking again is fine.

    Raises:
        InvalidRequest: code invalid_state, the job has ended.
    """

    def change(held: Job) -> None:
        if held.status in LEASED:
            if held.desired != Desired.CANCEL:
                Job.objects.filter(pk=held.pk).update(desired=Desired.CANCEL)
                append_events(
                    held, [Note(f"Cancelling: the {held.noun} stops at the end of the current step.")], now=now
                )
        else:
            move(
                held,
                Status.CANCELLED,
                now=now,
                notes=[Note(f"{held.noun.capitalize()} cancelled.")],
                changes={"desired": Desired.CANCEL},
            )

    allowed = frozenset(Status) - TERMINAL
    _change(job, "cancel", allowed=allowed, change=change)


def job_pause(*, job: Job, now: datetime) -> None:
    """A queued job is paused at once; a running one saves its current step first (`pausing`).

    Raises:
        InvalidRequest: code invalid_state.
    """

    def change(held: Job) -> None:
        wish = {"desired": Desired.PAUSE}
        if held.status == Status.QUEUED:
            note = Note("Fine-tuning job paused.")
            move(held, Status.PAUSED, now=now, notes=[note], changes=wish | {"dispatch_after": None})
        else:
            note = Note("Pausing: the job saves its current step and stops.")
            move(held, Status.PAUSING, now=now, notes=[note], changes=wish)

    _change(
        job,
        "pause",
        allowed=frozenset({Status.QUEUED, Status.RUNNING}),
        change=change,
        desired=(Desired.RUN, Desired.FINISH),
    )


def job_finish_early(*, job: Job, now: datetime) -> None:
    """Make no further steps: evaluate the policy as it is, then end as after the last step. Asking again is fine.

    Raises:
        InvalidRequest: code invalid_state.
    """

    def change(held: Job) -> None:
        wish, note = (
            {"desired": Desired.FINISH},
            Note("Finishing: one more step at most, then the best candidates are measured."),
        )
        if held.status == Status.PAUSED:
            queue(held, now=now, sources=frozenset({Status.PAUSED}), notes=[note], changes=wish | {"lost_attempts": 0})
        elif held.desired == Desired.RUN:
            Job.objects.filter(pk=held.pk).update(**wish)
            append_events(held, [note], now=now)

    _change(
        job,
        "finish",
        allowed=frozenset({Status.RUNNING, Status.PAUSED}),
        change=change,
        desired=(Desired.RUN, Desired.FINISH, Desired.PAUSE),
    )


def job_resume(*, job: Job, now: datetime) -> None:
    """Back in the queue, in a new attempt that goes on from the newest checkpoint.

    Raises:
        InvalidRequest: code invalid_state.
    """
    paused = frozenset({Status.PAUSED})

    def change(held: Job) -> None:
        note = Note("Fine-tuning job resumed; it waits for a worker.")
        queue(held, now=now, sources=paused, notes=[note], changes={"lost_attempts": 0})

    _change(job, "resume", allowed=paused, change=change)


def _change(
    job: Job,
    verb: str,
    *,
    allowed: frozenset[Status],
    change: Callable[[Job], None],
    desired: tuple[Desired, ...] = tuple(Desired),
) -> None:
    with transaction.atomic():
        held = hold(pk=job.pk, status__in=allowed, desired__in=desired)
        if held is None:
            raise _wrong_state(job, verb, allowed)
        change(held)
    job.refresh_from_db()


def _wrong_state(job: Job, verb: str, allowed: frozenset[Status]) -> InvalidRequest:
    job.refresh_from_db()
    state = f"`{job.status}`"
    if job.status in LEASED and job.desired == Desired.CANCEL:
        state += " and is being cancelled"
    hint = " Wait until it is `paused`." if (verb, job.status) == ("resume", Status.PAUSING) else ""
    names = ", ".join(f"`{status}`" for status in Status if status in allowed)
    return InvalidRequest(
        f"{job.noun.capitalize()} {job.public_id} is {state}; only those that are {names} can be told to {verb}.{hint}",
        code="invalid_state",
    )


def _data_file(scope: Scope, file_id: str, param: str) -> DataRef:
    """Inside a transaction: the file's row stays locked, so it cannot be deleted before the job names it.

    Raises:
        InvalidRequest: the file is not there, or is not meant for fine-tuning.
    """
    row = datasets.file_list(scope).filter(public_id=file_id).select_for_update().first()
    if row is None:
        raise InvalidRequest(
            f"`{param}`: there is no file {file_id} in this project.", param=param, code="file_not_found"
        )
    if row.purpose != Purpose.FINE_TUNE:
        raise InvalidRequest(
            f"`{param}`: file {file_id} has the purpose `{row.purpose}`; upload it with purpose `fine-tune`.",
            param=param,
            code="invalid_value",
        )
    return DataRef(file_id=file_id, key=row.store_key, sha256=row.sha256, size_bytes=row.size_bytes)


def file_needed_by(file: File) -> str | None:
    """Why a file may not be deleted yet: the sentence for the user, or None."""
    jobs = Job.objects.exclude(status__in=TERMINAL)
    job = jobs.filter(Q(training_file=file.public_id) | Q(validation_file=file.public_id)).first()
    return None if job is None else f"{job.noun} {job.public_id} ({job.status}) reads it."
