"""The first thing that happens to a job: its files are read row by row, with the eyes of its method and its grader."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from django.db import DatabaseError

from fettle_graders.spec import item_paths
from fettle_platform.core.storage import BlobMissing, StoreError
from fettle_platform.datasets.models import File
from fettle_platform.datasets.report import RowReport
from fettle_platform.datasets.validation import find_overlap, validate_rows_for
from fettle_platform.jobs.models import Job
from fettle_platform.jobs.states import Status
from fettle_platform.jobs.transitions import Note, job_fail, queue
from fettle_workers.contract.spec import DataRef, ReinforcementMethod, TrainSpec

log = logging.getLogger(__name__)

_VALIDATING = frozenset({Status.VALIDATING_FILES})
_PER_ROUND = 20


class FileUnusable(Exception):
    """The user must act: a file of the job cannot train it."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param
        self.code = f"invalid_{param}"


def jobs_validate(*, now: datetime) -> int:
    """Validate jobs that wait for it, the oldest first. Returns how many went on or failed.

    Raises:
        StoreUnavailable: files cannot be read now; the jobs keep waiting.
    """
    waiting = Job.objects.filter(status=Status.VALIDATING_FILES).order_by("created_at")[:_PER_ROUND]
    return sum(_validate_or_fail(job, now) for job in waiting)


def _validate_or_fail(job: Job, now: datetime) -> bool:
    """A fault of ours in reading one job's files must not hold up the jobs behind it."""
    try:
        return job_validate(job=job, now=now)
    except (StoreError, DatabaseError):
        raise
    except Exception:
        log.exception("validation of %s failed", job.public_id)
        message = "The server had an error while it checked the files; the operator finds it in the log."
        return job_fail(job, now=now, code="internal_error", message=message, sources=_VALIDATING)


def job_validate(*, job: Job, now: datetime) -> bool:
    """Read the job's files, then queue or fail it. Two at once read twice and write once.

    Raises:
        StoreUnavailable: the files could not be read now; the job keeps waiting.
    """
    spec = TrainSpec.model_validate(job.spec)
    try:
        notes = list(files_check(job.project_id, spec))
    except FileUnusable as error:
        return job_fail(job, now=now, code=error.code, message=str(error), param=error.param, sources=_VALIDATING)
    notes.append(Note("Files validated, moving job to queued state"))
    return queue(job, now=now, sources=_VALIDATING, notes=notes)


def files_check(project_id: int, spec: TrainSpec) -> Iterable[Note]:
    """Read the files of a job that is, or may come to be; yields what is worth a warning.

    Raises:
        FileUnusable: with the line and what was expected there.
        StoreUnavailable: the files could not be read now.
    """
    training = _file(project_id, spec.training_file, "training_file")
    reports = [("training file", _checked(training, "training_file", spec))]
    validation = None
    if spec.validation_file:
        validation = _file(project_id, spec.validation_file, "validation_file")
        reports.append(("validation file", _checked(validation, "validation_file", spec)))
    for name, report in reports:
        yield from _warnings(name, report)
    if validation is not None:
        yield from _overlap(training, validation)


def _file(project_id: int, data: DataRef, param: str) -> File:
    row = File.objects.filter(project_id=project_id, public_id=data.file_id).first()
    if row is None:
        raise FileUnusable(param, f"`{param}`: the file {data.file_id} was deleted before the job could read it.")
    return row


def _checked(file: File, param: str, spec: TrainSpec) -> RowReport:
    method = spec.method
    paths = item_paths(method.grader) if isinstance(method, ReinforcementMethod) else []
    try:
        report = validate_rows_for(file, method=method.type, item_paths=paths)
    except BlobMissing as error:
        message = f"`{param}`: the bytes of {file.public_id} are missing from the store."
        raise FileUnusable(param, message) from error
    if not report.is_valid:
        raise FileUnusable(param, report.describe(f"{param.replace('_', ' ')} {file.filename} ({file.public_id})"))
    return report


def _warnings(name: str, report: RowReport) -> Iterable[Note]:
    for cause in report.causes:
        if cause.severity == "warning":
            lines = ", ".join(str(occurrence.line) for occurrence in cause.examples[:5])
            more = ", ..." if cause.count > 5 else ""
            message = f"The {name} has {cause.count} rows to look at: {cause.message} (line {lines}{more})."
            yield Note(message, level="warn", data={"code": cause.code, "count": cause.count})


def _overlap(training: File, validation: File) -> Iterable[Note]:
    overlap = find_overlap(training, validation)
    if overlap.num_rows:
        pairs = ", ".join(f"{valid} (training line {train})" for train, valid in overlap.examples[:3])
        message = (
            f"{overlap.num_rows} validation prompts are also in the training file, such as validation line {pairs}. "
            "A gain measured on them does not show that the model learnt more than these rows."
        )
        yield Note(message, level="warn", data={"code": "train_validation_overlap", "count": overlap.num_rows})
