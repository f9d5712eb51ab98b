"""How Django takes in uploaded files: straight to a temporary file, digested on the way, in constant memory."""

from __future__ import annotations

import hashlib
import tempfile
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler

from fettle_platform.core.errors import PayloadTooLarge


class HashedUpload(UploadedFile):
    """An uploaded file on disk. `sha256` is the hex digest of its bytes; `size` is in bytes."""

    sha256: str = ""


class HashingUploadHandler(FileUploadHandler):
    """Stops as soon as a file is larger than any route accepts; the view checks its own, smaller limit."""

    file: HashedUpload | None = None

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        folder = settings.FETTLE.temporary_dir
        folder.mkdir(parents=True, exist_ok=True)
        spool = tempfile.NamedTemporaryFile(prefix="upload-", dir=folder)  # noqa: SIM115 -- closed with the request
        self.file = HashedUpload(spool, self.file_name, self.content_type, 0, self.charset, self.content_type_extra)
        self.digest = hashlib.sha256()
        self.limit = max(settings.FETTLE.max_file_bytes, settings.FETTLE.max_part_bytes)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if start + len(raw_data) > self.limit:
            self.upload_interrupted()
            raise PayloadTooLarge(f"The file is larger than {self.limit} bytes")
        self.digest.update(raw_data)
        self.file.write(raw_data)

    def file_complete(self, file_size: int) -> HashedUpload:
        self.file.sha256 = self.digest.hexdigest()
        self.file.seek(0)
        self.file.size = file_size
        return self.file

    def upload_interrupted(self) -> None:
        if self.file is not None:
            self.file.close()
