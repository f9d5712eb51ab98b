"""The six operations every store offers, and the checks that do not depend on which store it is.

Stores that speak S3 differ in which checksums and conditions they honour, so Fettle keeps size and SHA-256 of every
blob itself and checks both after download; the only condition it relies on is a small `put` that must not replace.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

CHUNK_BYTES = 1024 * 1024


class StoreError(Exception):
    """Base of everything a store raises."""


class StoreUnavailable(StoreError):
    """The operator must act: no connection, wrong credentials, full disk. Trying again later is right."""


class BlobMissing(StoreError):
    """There is no blob of that key."""


class BlobExists(StoreError):
    """`only_if_absent` was asked for and the key is taken."""


class BlobCorrupt(StoreError):
    """What was read is not what was written: size or digest differ."""


@dataclass(frozen=True)
class Blob:
    key: str
    size_bytes: int
    sha256: str


class BlobStore(Protocol):
    def put(self, key: str, source: BinaryIO | bytes, *, only_if_absent: bool = False) -> Blob:
        """Write all of `source`; afterwards the key holds the whole blob, or what it held before."""
        ...

    def open(self, key: str) -> BinaryIO:
        """A stream over the blob. Raises BlobMissing."""
        ...

    def size(self, key: str) -> int:
        """In bytes. Raises BlobMissing."""
        ...

    def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that begin with `prefix`, sorted."""
        ...

    def delete(self, key: str) -> None:
        """Deleting what is not there is fine."""
        ...


class HashingReader:
    """A binary stream that counts and digests what passes through `read`."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._digest.update(data)
        self.size_bytes += len(data)
        return data

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def check_key(key: str) -> str:
    """Refuse keys that could leave the store's folder. Keys are made by Fettle, never by users."""
    parts = key.split("/")
    if not key or key.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\x00" in key:
        raise ValueError(
            f"store key {key!r}: expected relative parts separated by '/', without '.', '..' or empty parts"
        )
    return key


def open_store(url: str) -> BlobStore:
    """`file:///folder` or `s3://bucket/prefix`; S3 endpoint and credentials come from boto3's own configuration.

    Raises:
        ValueError: another scheme, or no folder or bucket in the address.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.path not in ("", "/"):
        from fettle_workers.store.folder import FolderStore

        return FolderStore(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        from fettle_workers.store.s3 import S3Store

        return S3Store(parts.netloc, parts.path.strip("/"))
    raise ValueError(f"store address {url!r}: expected file:///folder or s3://bucket/prefix")


def download(store: BlobStore, key: str, target: Path, *, sha256: str, size_bytes: int) -> None:
    """Copy a blob to `target`, which appears only when whole and verified.

    Raises:
        BlobMissing: there is no such key.
        BlobCorrupt: size or digest differ from what was recorded when the blob was written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    with store.open(key) as source, partial.open("wb") as sink:
        reader = HashingReader(source)
        shutil.copyfileobj(reader, sink, CHUNK_BYTES)
        sink.flush()
        os.fsync(sink.fileno())
    if (reader.size_bytes, reader.sha256) != (size_bytes, sha256):
        partial.unlink()
        raise BlobCorrupt(
            f"{key}: read {reader.size_bytes} bytes with SHA-256 {reader.sha256}, recorded were {size_bytes} bytes "
            f"with {sha256}; restore the blob from a backup of the store"
        )
    partial.replace(target)
