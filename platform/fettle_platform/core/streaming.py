"""Bodies that are sent piece by piece, in constant memory under ASGI and WSGI alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import BinaryIO

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from rest_framework.request import Request

_CHUNK_BYTES = 256 * 1024


def stream_response(
    request: Request, source: BinaryIO, *, size_bytes: int, content_type: str, status: int = 200
) -> StreamingHttpResponse:
    """Send the next `size_bytes` of `source`, then close it.

    Under ASGI Django would read a plain iterator to its end before it sends the first byte, so it gets an async one.
    """
    is_async = isinstance(request._request, ASGIRequest)
    pieces = _async_pieces(source, size_bytes) if is_async else _pieces(source, size_bytes)
    headers = {"content-length": str(size_bytes)}
    return StreamingHttpResponse(pieces, status=status, content_type=content_type, headers=headers)


def _pieces(source: BinaryIO, num_left: int) -> Iterator[bytes]:
    with source:
        while num_left and (piece := source.read(min(_CHUNK_BYTES, num_left))):
            num_left -= len(piece)
            yield piece


async def _async_pieces(source: BinaryIO, num_left: int) -> AsyncIterator[bytes]:
    # Not thread-sensitive: a slow store must hold up this stream only.
    read = sync_to_async(source.read, thread_sensitive=False)
    try:
        while num_left and (piece := await read(min(_CHUNK_BYTES, num_left))):
            num_left -= len(piece)
            yield piece
    finally:
        source.close()
