"""Uploads in parts: each part is a blob, and completing one reads the parts in order into the file's blob."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import BinaryIO

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from fettle_platform.accounts.models import Project
from fettle_platform.core.errors import InvalidRequest
from fettle_platform.core.ids import new_id
from fettle_platform.core.storage import get_store
from fettle_platform.datasets.models import Upload, UploadPart
from fettle_platform.datasets.services import check_filename, delete_blobs, describe_blob, removing_on_failure

LIFETIME = timedelta(hours=1)


def upload_create(
    *,
    project: Project,
    purpose: str,
    filename: str,
    mime_type: str,
    size_bytes: int,
    file_expires_after_s: int | None = None,
) -> Upload:
    """Raises InvalidRequest: larger than the server accepts, or a fine-tune file that is no `.jsonl`."""
    limit = settings.FETTLE.max_upload_bytes
    if not 1 <= size_bytes <= limit:
        raise InvalidRequest(f"bytes is {size_bytes}; expected 1 to {limit}", param="bytes")
    check_filename(purpose, filename)
    return Upload.objects.create(
        project=project,
        purpose=purpose,
        filename=filename,
        mime_type=mime_type,
        size_bytes=size_bytes,
        file_expires_after_s=file_expires_after_s,
        expires_at=timezone.now() + LIFETIME,
    )


def upload_add_part(*, upload: Upload, source: BinaryIO, size_bytes: int) -> UploadPart:
    """Raises InvalidRequest: the upload is over, or the parts are together larger than declared."""
    _require_pending(upload)
    part = UploadPart(public_id=new_id("part_"), upload=upload, size_bytes=size_bytes)
    get_store().put(part.store_key, source)
    with removing_on_failure(part.store_key), transaction.atomic():
        locked = Upload.objects.select_for_update().get(pk=upload.pk)
        _require_pending(locked)
        # Parts may be sent again and left out at the end, so more than the declared size is kept, but not without end.
        kept = locked.parts.aggregate(total=Sum("size_bytes"))["total"] or 0
        if kept + size_bytes > 2 * max(locked.size_bytes, settings.FETTLE.max_part_bytes):
            raise InvalidRequest(
                f"The parts of this upload hold {kept + size_bytes} bytes, declared were {locked.size_bytes}",
                param="data",
            )
        part.save(force_insert=True)
    return part


def upload_complete(*, upload: Upload, part_ids: Sequence[str], md5: str | None = None) -> Upload:
    """Make the file from the named parts, in their order.

    Raises:
        InvalidRequest: the upload is over, an unknown or repeated part, sizes that do not add up, another MD5.
    """
    _require_pending(upload)
    parts = _ordered_parts(upload, part_ids)
    total = sum(part.size_bytes for part in parts)
    if total != upload.size_bytes:
        raise InvalidRequest(f"The parts hold {total} bytes, declared were {upload.size_bytes}", param="part_ids")
    file_id = new_id("file-")
    joined = JoinedParts(parts)
    blob = get_store().put(f"files/{file_id}", joined)  # type: ignore[arg-type]  # the store only reads
    with removing_on_failure(blob.key):
        if md5 and md5.lower() != joined.md5:
            raise InvalidRequest(f"md5 is {md5[:40]}, but the parts have {joined.md5}", param="md5")
        file = describe_blob(blob, file_id, project=upload.project, purpose=upload.purpose, filename=upload.filename)
        if upload.file_expires_after_s:
            file.expires_at = timezone.now() + timedelta(seconds=upload.file_expires_after_s)
        with transaction.atomic():
            file.save(force_insert=True)
            _finish(upload, Upload.Status.COMPLETED, file_id=file.pk)
    return Upload.objects.select_related("file").get(pk=upload.pk)


def upload_cancel(*, upload: Upload) -> Upload:
    """Raises InvalidRequest: the upload is over."""
    _require_pending(upload)
    with transaction.atomic():
        _finish(upload, Upload.Status.CANCELLED)
    return Upload.objects.get(pk=upload.pk)


def uploads_expire() -> int:
    """Expire uploads nobody completed, and drop their parts; returns how many. Called by the tick."""
    num_expired = 0
    for upload in Upload.objects.filter(status=Upload.Status.PENDING, expires_at__lte=timezone.now())[:100]:
        with transaction.atomic():
            num_expired += _finish(upload, Upload.Status.EXPIRED, is_required=False)
    return num_expired


def _require_pending(upload: Upload) -> None:
    if upload.current_status != Upload.Status.PENDING:
        raise InvalidRequest(
            f"The upload {upload.public_id} is {upload.current_status}; expected a pending one", code="invalid_state"
        )


def _finish(upload: Upload, status: Upload.Status, *, file_id: int | None = None, is_required: bool = True) -> int:
    """Move a pending upload on, once, whoever else tries at the same time; its parts go when that is committed."""
    pending = Upload.objects.filter(pk=upload.pk, status=Upload.Status.PENDING)
    num_moved = pending.update(status=status, file_id=file_id)
    if not num_moved:
        if is_required:
            upload.refresh_from_db()
            _require_pending(upload)
        return 0
    keys = [part.store_key for part in upload.parts.select_related("upload")]
    transaction.on_commit(lambda: delete_blobs(keys))
    return num_moved


def _ordered_parts(upload: Upload, part_ids: Sequence[str]) -> list[UploadPart]:
    by_id = {part.public_id: part for part in upload.parts.select_related("upload")}
    ordered: dict[str, UploadPart] = {}
    for index, part_id in enumerate(part_ids):
        param = f"part_ids.{index}"
        if part_id not in by_id:
            raise InvalidRequest(f"{param} is {part_id[:80]!r}, which is no part of {upload.public_id}", param=param)
        if part_id in ordered:
            raise InvalidRequest(f"{param} names a part a second time", param=param)
        ordered[part_id] = by_id[part_id]
    return list(ordered.values())


class JoinedParts:
    """Reads parts one after the other as one stream, and digests what it reads."""

    def __init__(self, parts: Sequence[UploadPart]) -> None:
        self._keys = [part.store_key for part in parts]
        self._stream: BinaryIO | None = None
        self._digest = hashlib.md5(usedforsecurity=False)

    @property
    def md5(self) -> str:
        return self._digest.hexdigest()

    def read(self, size: int = -1) -> bytes:
        """Exactly `size` bytes while there are so many: S3 clients take a short read for the end."""
        pieces: list[bytes] = []
        missing = size
        while missing and (piece := self._read_some(missing)):
            pieces.append(piece)
            missing -= len(piece) if size >= 0 else 0
        data = b"".join(pieces)
        self._digest.update(data)
        return data

    def _read_some(self, size: int) -> bytes:
        while self._stream is not None or self._keys:
            if self._stream is None:
                self._stream = get_store().open(self._keys.pop(0))
            if piece := self._stream.read(size):
                return piece
            self._stream.close()
            self._stream = None
        return b""
