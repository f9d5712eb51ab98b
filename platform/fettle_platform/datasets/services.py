"""Writes of files. The bytes go to the store first, then the row is made, so a row never names absent bytes."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import BinaryIO

from django.db import transaction
from django.utils import timezone

from fettle_platform.accounts.models import Project
from fettle_platform.core.errors import InvalidRequest
from fettle_platform.core.ids import new_id
from fettle_platform.core.storage import Blob, StoreError, get_store
from fettle_platform.datasets.guards import deletion_refusal
from fettle_platform.datasets.models import File, Purpose
from fettle_platform.datasets.report import RowReport
from fettle_platform.datasets.validation import validate_rows

log = logging.getLogger(__name__)


def file_create(
    *,
    project: Project,
    purpose: str,
    filename: str,
    source: BinaryIO | bytes,
    expires_after_s: int | None = None,
) -> File:
    """Store a file; the rows of a fine-tune file are read and reported, and wrong rows make its status `error`.

    Also what jobs call for result files: `purpose=Purpose.FINE_TUNE_RESULTS, source=csv_bytes`.

    Raises:
        InvalidRequest: a fine-tune file whose name does not end in `.jsonl`.
        StoreUnavailable: nothing was kept.
    """
    check_filename(purpose, filename)
    file_id = new_id("file-")
    blob = get_store().put(f"files/{file_id}", source)
    file = describe_blob(blob, file_id, project=project, purpose=purpose, filename=filename)
    file.expires_at = timezone.now() + timedelta(seconds=expires_after_s) if expires_after_s else None
    with removing_on_failure(blob.key):
        file.save(force_insert=True)
    return file


def check_filename(purpose: str, filename: str) -> None:
    if purpose == Purpose.FINE_TUNE and not filename.lower().endswith(".jsonl"):
        raise InvalidRequest(
            f"The file {filename[:100]!r} cannot be used for fine-tuning; expected JSON Lines in a file named *.jsonl",
            param="file",
            code="invalid_file_format",
        )


def describe_blob(blob: Blob, file_id: str, *, project: Project, purpose: str, filename: str) -> File:
    """The row of a stored blob, not saved yet; reads a fine-tune file once more to check its rows."""
    file = File(
        public_id=file_id,
        project=project,
        purpose=purpose,
        filename=filename,
        size_bytes=blob.size_bytes,
        sha256=blob.sha256,
    )
    if purpose == Purpose.FINE_TUNE:
        with get_store().open(blob.key) as stream:
            _apply_report(file, validate_rows(stream))
    return file


def file_delete(*, file: File) -> None:
    """Remove the row, then the bytes.

    Raises:
        InvalidRequest: something that is still going on needs the file.
    """
    with transaction.atomic():
        # Locked, so that a job which takes the file at this moment is seen or sees that it is gone.
        locked = File.objects.select_for_update().filter(pk=file.pk).first()
        refusal = deletion_refusal(file) if locked else None
        if refusal:
            raise InvalidRequest(
                f"The file {file.public_id} cannot be deleted: {refusal}", param="file_id", code="invalid_state"
            )
        key = file.store_key
        File.objects.filter(pk=file.pk).delete()
        transaction.on_commit(lambda: delete_blobs([key]))


def files_expire() -> int:
    """Delete files past their time, except those in use; returns how many. Called by the tick."""
    num_deleted = 0
    for file in File.objects.filter(expires_at__lte=timezone.now()).defer("report")[:100]:
        if deletion_refusal(file) is None:
            file_delete(file=file)
            num_deleted += 1
    return num_deleted


def delete_blobs(keys: list[str]) -> None:
    """Bytes that no row names any more. A store out of reach leaves them behind, which costs only space."""
    for key in keys:
        try:
            get_store().delete(key)
        except StoreError as error:
            log.warning("could not delete %s from the store: %s", key, error)


class removing_on_failure:
    """Deletes a blob when the block that makes its row fails."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            delete_blobs([self._key])


def _apply_report(file: File, report: RowReport) -> None:
    file.report = report.to_json()
    if not report.is_valid:
        file.status = File.Status.ERROR
        file.status_details = report.describe(file.filename)
