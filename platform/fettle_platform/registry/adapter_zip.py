"""An adapter as a zip that is made while it is sent: constant memory, whatever the adapter's size."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncIterator, Iterator
from typing import BinaryIO

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from rest_framework.request import Request

from fettle_platform.core.errors import NotFound
from fettle_platform.core.storage import BlobMissing, BlobStore
from fettle_platform.registry.models import Adapter

_CHUNK_BYTES = 1024 * 1024
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)


def adapter_zip(request: Request, store: BlobStore, adapter: Adapter) -> StreamingHttpResponse:
    """A streamed answer.

    Raises:
        NotFound: a file of the adapter is gone; said before the first byte is sent.
    """
    sources = {name: f"adapters/{adapter.digest}/{name}" for name in sorted(adapter.files)}
    try:
        for key in sources.values():
            store.size(key)
    except BlobMissing as error:
        raise NotFound(f"The file {error} of this adapter is not in the store.", param="model") from error
    pieces = zip_pieces(store, sources)
    is_async = isinstance(request._request, ASGIRequest)
    return StreamingHttpResponse(_async(pieces) if is_async else pieces, content_type="application/zip")


def zip_pieces(store: BlobStore, sources: dict[str, str]) -> Iterator[bytes]:
    """The bytes of a zip, uncompressed (weights do not shrink), the same for the same content.

    Args:
        sources: name in the zip -> key in the store.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:  # type: ignore[call-overload]
        for name, key in sources.items():
            info = zipfile.ZipInfo(name, date_time=_FIXED_TIME)
            info.external_attr = 0o644 << 16
            with store.open(key) as source, archive.open(info, "w", force_zip64=True) as entry:
                yield from _copied(source, entry, sink)
            yield sink.take()
    yield sink.take()


def _copied(source: BinaryIO, entry: object, sink: _Sink) -> Iterator[bytes]:
    while piece := source.read(_CHUNK_BYTES):
        entry.write(piece)  # type: ignore[attr-defined]  # zipfile's writer has no public type
        yield sink.take()


async def _async(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Under ASGI a plain iterator would be read to its end before the first byte is sent."""
    step = sync_to_async(next, thread_sensitive=False)
    while (piece := await step(pieces, None)) is not None:
        yield piece


class _Sink:
    """A file that only grows and gives away what it holds. Without `seek`, zipfile writes sizes after the data."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._position = 0

    def write(self, data: bytes) -> int:
        self._held += data
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        return None

    def take(self) -> bytes:
        taken = bytes(self._held)
        self._held.clear()
        return taken
