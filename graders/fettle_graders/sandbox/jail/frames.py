"""The wire between host and jail, on two pipes. The host trusts nothing it reads here; see `sandbox/worker.py`.

A request is `REQUEST` and a body; the jail takes one at a time and answers it before it reads the next.
A reply is `REPLY`, a text and what was printed. The jail never sends JSON that the host would parse as its own.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from typing import Any

REQUEST = struct.Struct("<IBQB")  # bytes of the body, kind, random id, 1 to return what is printed
REPLY = struct.Struct("<QBdII")  # the request's id, outcome, score, bytes of the text, bytes of the output
LOAD, CALL, PING, RUN = 1, 2, 3, 4
MAX_TEXT_BYTES = 2048
MAX_OUTPUT_BYTES = 8192
MAX_VALUE_BYTES = 64 * 1024  # the text of a candidate's return value

# Outcomes.
READY, OK, EXCEPTION, INVALID_RETURN, MEMORY_LIMIT, LOAD_ERROR, VALUE, TOO_LARGE, ENDED = range(9)


def read_config(*, keep: bool = False) -> dict[str, Any]:
    """The jail's configuration, from the file in memory whose descriptor is the program's argument; closes it."""
    descriptor = int(sys.argv[1])
    config: dict[str, Any] = json.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    if not keep:
        os.close(descriptor)
    return config


def read_exactly(descriptor: int, count: int) -> bytes:
    """Raises EOFError: the host has gone."""
    parts = []
    while count:
        part = os.read(descriptor, min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def cut(text: str, limit: int) -> bytes:
    """At most `limit` bytes of UTF-8; what is no text, such as half of a surrogate pair, becomes a question mark."""
    return text[:limit].encode("utf-8", "replace")[:limit]
