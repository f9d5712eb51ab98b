"""Cuts a stream into lines in constant memory, whatever the stream holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Line:
    """`number` counts from 1. `data` has no line end and is None when the line is longer than allowed."""

    number: int
    data: bytes | None
    size_bytes: int


def iterate_lines(stream: BinaryIO, *, max_bytes: int) -> Iterator[Line]:
    """Lines end with a line feed only: other separators may stand inside a JSON string. A carriage return before it
    is dropped. Nothing follows a final line feed."""
    number, size = 1, 0
    kept: list[bytes] = []
    while chunk := stream.read(_CHUNK_BYTES):
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            size += len(piece)
            yield _line(number, [*kept, piece], size, max_bytes)
            number, size, kept = number + 1, 0, []
        size += len(rest)
        # A line that is already too long is only counted from here on.
        kept = [*kept, rest] if size <= max_bytes + 1 else []
    if size:
        yield _line(number, kept, size, max_bytes)


def _line(number: int, pieces: list[bytes], size: int, max_bytes: int) -> Line:
    if size > max_bytes + 1:  # one more for the carriage return
        return Line(number, None, size)
    data = b"".join(pieces).removesuffix(b"\r")
    return Line(number, data if len(data) <= max_bytes else None, len(data))
