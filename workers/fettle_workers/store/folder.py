"""A store in a local folder: the embedded mode's, and a shared file system's."""

from __future__ import annotations

import io
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fettle_workers.store.blob import (
    CHUNK_BYTES,
    Blob,
    BlobExists,
    BlobMissing,
    HashingReader,
    StoreUnavailable,
    check_key,
)

_TEMPORARY = ".tmp-"


class FolderStore:
    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, key: str, source: BinaryIO | bytes, *, only_if_absent: bool = False) -> Blob:
        target = self.root / check_key(key)
        reader = HashingReader(io.BytesIO(source) if isinstance(source, bytes) else source)
        temporary = target.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
        with _as_unavailable(key):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("xb") as sink:
                    shutil.copyfileobj(reader, sink, CHUNK_BYTES)
                    sink.flush()
                    os.fsync(sink.fileno())
                if only_if_absent:
                    os.link(temporary, target)  # unlike a rename, fails when the name is taken
                else:
                    temporary.replace(target)
                _sync_folder(target.parent)
            except FileExistsError:
                raise BlobExists(key) from None
            finally:
                temporary.unlink(missing_ok=True)
        return Blob(key, reader.size_bytes, reader.sha256)

    def open(self, key: str) -> BinaryIO:
        with _as_unavailable(key):
            try:
                return (self.root / check_key(key)).open("rb")
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                raise BlobMissing(key) from None

    def size(self, key: str) -> int:
        with self.open(key) as stream:
            return os.fstat(stream.fileno()).st_size

    def exists(self, key: str) -> bool:
        return (self.root / check_key(key)).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        start = self.root / prefix
        folder = start if prefix.endswith("/") or not prefix else start.parent
        paths = sorted(path.relative_to(self.root).as_posix() for path in folder.rglob("*") if path.is_file())
        return (path for path in paths if path.startswith(prefix) and not Path(path).name.startswith(_TEMPORARY))

    def delete(self, key: str) -> None:
        with _as_unavailable(key):
            (self.root / check_key(key)).unlink(missing_ok=True)


@contextmanager
def _as_unavailable(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"{key}: {error.strerror or error} ({error.filename or 'store folder'})") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
