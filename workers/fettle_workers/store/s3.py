"""A store in an S3 bucket, through boto3; its own settings (AWS_ENDPOINT_URL_S3, ...) name endpoint and credentials."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from fettle_workers.store.blob import Blob, BlobExists, BlobMissing, HashingReader, StoreUnavailable, check_key

# One thread: the digest is taken in reading order. Parts of 16 MiB keep memory flat and allow blobs of 156 GiB.
_TRANSFER = TransferConfig(multipart_threshold=16 * 2**20, multipart_chunksize=16 * 2**20, use_threads=False)
_CLIENT = Config(
    signature_version="s3v4",
    connect_timeout=5,
    read_timeout=60,
    retries={"mode": "standard", "max_attempts": 4},
    # Stores older than the 2025 checksum change refuse the newer default.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
_MISSING = {"404", "NoSuchKey", "NotFound"}


class S3Store:
    def __init__(
        self, bucket: str, prefix: str, client: Any = None
    ) -> None:  # Any: boto3 makes its clients at run time
        self.bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._s3 = client or boto3.client("s3", config=_CLIENT)

    def put(self, key: str, source: BinaryIO | bytes, *, only_if_absent: bool = False) -> Blob:
        check_key(key)
        reader = HashingReader(io.BytesIO(source) if isinstance(source, bytes) else source)
        with self._errors(key):
            if only_if_absent:
                self._s3.put_object(Bucket=self.bucket, Key=self._prefix + key, Body=reader.read(), IfNoneMatch="*")
            else:
                self._s3.upload_fileobj(reader, self.bucket, self._prefix + key, Config=_TRANSFER)
        return Blob(key, reader.size_bytes, reader.sha256)

    def open(self, key: str) -> BinaryIO:
        with self._errors(key):
            body = self._s3.get_object(Bucket=self.bucket, Key=self._prefix + check_key(key))["Body"]
        return _Body(body, key, self._errors)  # type: ignore[return-value]  # a reader with the methods that are used

    def size(self, key: str) -> int:
        with self._errors(key):
            return int(self._s3.head_object(Bucket=self.bucket, Key=self._prefix + check_key(key))["ContentLength"])

    def exists(self, key: str) -> bool:
        try:
            self.size(key)
        except BlobMissing:
            return False
        return True

    def list(self, prefix: str) -> Iterator[str]:
        with self._errors(prefix):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._prefix + prefix)
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield entry["Key"][len(self._prefix) :]

    def delete(self, key: str) -> None:
        with self._errors(key):
            self._s3.delete_object(Bucket=self.bucket, Key=self._prefix + check_key(key))

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _MISSING:
                raise BlobMissing(key) from None
            if code in ("PreconditionFailed", "412", "ConditionalRequestConflict"):
                raise BlobExists(key) from None
            raise StoreUnavailable(f"s3://{self.bucket}/{self._prefix}{key}: {error}") from error
        except (BotoCoreError, OSError) as error:
            raise StoreUnavailable(f"s3://{self.bucket}/{self._prefix}{key}: {error}") from error


class _Body:
    """A download whose broken connection is a StoreUnavailable like any other."""

    def __init__(self, body: Any, key: str, errors: Any) -> None:
        self._body, self._key, self._errors = body, key, errors

    def read(self, size: int = -1) -> bytes:
        with self._errors(self._key):
            return bytes(self._body.read(None if size < 0 else size))

    def readable(self) -> bool:
        return True

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body.iter_lines())

    def close(self) -> None:
        self._body.close()

    def __enter__(self) -> _Body:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
