"""Training data as the caller may name it: a path, a list of rows, or the id of an uploaded file."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from fettle.errors import InvalidData, InvalidRequest
from fettle.results import Occurrence, Problem

Rows: TypeAlias = Sequence[Mapping[str, Any]]
Data: TypeAlias = str | os.PathLike[str] | Rows
OnProgress: TypeAlias = Callable[[int, int], None]

MAX_LINES_SHOWN = 100


@dataclass(frozen=True)
class FileId:
    """A file the server has already."""

    id: str


@dataclass(frozen=True)
class Upload:
    """JSON Lines to send: `path` on disk, or `content` in memory. `name` is what the server shows."""

    name: str
    path: Path | None = None
    content: bytes = b""

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size if self.path else len(self.content)

    def lines(self) -> Iterable[bytes]:
        return self.path.open("rb") if self.path else io.BytesIO(self.content)

    def reader(self, on_progress: OnProgress | None = None) -> IO[bytes]:
        """A fresh stream; `on_progress(sent_bytes, total_bytes)` is called as it is read."""
        stream: IO[bytes] = self.path.open("rb") if self.path else io.BytesIO(self.content)
        # BufferedReader reads any stream with `readinto`; its signature asks for the narrower raw base.
        return stream if on_progress is None else _Counted(cast(io.RawIOBase, stream), self.size_bytes, on_progress)


def source_of(data: Data, *, name: str) -> FileId | Upload:
    """Tell the three forms apart.

    Raises:
        InvalidRequest: there is no such file, or the list is empty.
        InvalidData: a row of the list is not an object that JSON can hold.
    """
    if isinstance(data, (str, os.PathLike)):
        path = Path(data)
        if path.is_file():
            return Upload(name=path.name, path=path)
        if isinstance(data, str) and data.startswith("file-"):
            return FileId(data)
        raise InvalidRequest(
            f"no file {os.fspath(data)!r}", fix="Pass the path of a .jsonl file, a list of rows, or the id of a file."
        )
    if not data:
        raise InvalidRequest("the list of rows is empty", fix="Pass at least one row with `messages`.")
    return Upload(name=f"{name}.jsonl", content=encode(data))


def encode(rows: Rows) -> bytes:
    """JSON Lines of the rows."""
    lines = []
    for number, row in enumerate(rows, start=1):
        try:
            lines.append(json.dumps(row, ensure_ascii=False, allow_nan=False))
        except (TypeError, ValueError) as error:
            problem = Problem(message=str(error), code="invalid_json", examples=[Occurrence(line=number)])
            raise InvalidData("the rows cannot be written as JSON", problems=[problem]) from error
    return ("\n".join(lines) + "\n").encode()


def check_lines(lines: Iterable[bytes]) -> tuple[int, list[Problem]]:
    """Look for what the server would refuse anyway, before sending bytes: syntax and `messages`.

    Returns the number of rows and the problems grouped by cause. The server checks more (fields the grader reads,
    lengths, overlap of training and validation).
    """
    found: dict[str, list[int]] = {}
    num_rows = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        num_rows += 1
        if (message := _line_problem(line)) is not None:
            found.setdefault(message, []).append(number)
    problems = [
        Problem(message=message, count=len(numbers), examples=[Occurrence(line=n) for n in numbers[:MAX_LINES_SHOWN]])
        for message, numbers in found.items()
    ]
    return num_rows, problems


def _line_problem(line: bytes) -> str | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", type(error).__name__)
        return f"not valid JSON ({reason})"
    if not isinstance(row, dict):
        return f"expected a JSON object, found {type(row).__name__}"
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        return "`messages` must be a list with at least one message"
    if not all(isinstance(message, dict) and "role" in message for message in messages):
        return "every message must be an object with `role` and `content`"
    return None


class _Counted(io.BufferedReader):
    """A file that reports how much of it was read. Seeking back (a retried upload) starts the count again."""

    def __init__(self, raw: io.RawIOBase, total_bytes: int, on_progress: OnProgress) -> None:
        super().__init__(raw)
        self._total_bytes = total_bytes
        self._on_progress = on_progress

    def read(self, size: int | None = -1, /) -> bytes:
        chunk = super().read(size)
        self._on_progress(self.tell(), self._total_bytes)
        return chunk
