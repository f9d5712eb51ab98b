"""Looks into a stored fine-tune file: its rows, which of them are wrong, and files made of some of them."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from django.conf import settings

from fettle_platform.core.errors import InvalidRequest
from fettle_platform.core.storage import get_store
from fettle_platform.datasets.lines import Line, iterate_lines
from fettle_platform.datasets.models import File, Purpose
from fettle_platform.datasets.report import Cause, Findings
from fettle_platform.datasets.rows import check_row
from fettle_platform.datasets.services import file_create
from fettle_platform.datasets.validation import parse_line, prompt_digest

MAX_SHOWN_CHARS = 20_000


@dataclass(frozen=True)
class Row:
    """One line. `value` is None where it cannot be read; `raw` is cut after 20 000 characters."""

    line: int
    raw: str
    value: dict[str, Any] | None
    problems: list[Cause]

    @property
    def is_usable(self) -> bool:
        return not any(problem.severity == "error" for problem in self.problems)


def row_list(file: File, *, after_line: int, limit: int, contains: str = "", only_bad: bool = False) -> list[Row]:
    """The next rows behind `after_line`, at most `limit`; blank lines are none.

    Args:
        contains: only lines with this text, in any case, as it stands in the file or in its JSON strings.
        only_bad: only rows with an error.
    """
    found: list[Row] = []
    for line in _lines(file):
        if line.number <= after_line or not _contains(line, contains):
            continue
        row = _read(line)
        if only_bad and row.is_usable:
            continue
        found.append(row)
        if len(found) == limit:
            break
    return found


def part_of(file: File, *, usable: bool) -> IO[bytes]:
    """The lines of the usable rows, or of the others, as they were uploaded. The caller closes it."""
    return _collect(file, lambda line: _read(line).is_usable == usable)


def file_keep_usable(*, file: File) -> File:
    """A new file of the usable rows. Raises InvalidRequest: there are none."""
    with part_of(file, usable=True) as source:
        if not source.read(1):
            raise InvalidRequest(f"{file.filename} has no usable row", param="file_id", code="invalid_state")
        source.seek(0)
        return _create(file, "usable", source)


def file_split(*, file: File, share: float, seed: int) -> tuple[File, File]:
    """Two new files: training and held-out rows. Rows that ask the same stay together, or the second would measure
    what the first has taught.

    Args:
        share: of the prompts held out, rounded, at least one and not all.

    Raises:
        InvalidRequest: a row cannot be read, or there are fewer than two prompts.
    """
    digests: set[bytes] = set()
    for line in _lines(file):
        value = _read(line).value
        if value is None:
            message = f"line {line.number} of {file.filename} cannot be read; make a file of the usable rows first"
            raise InvalidRequest(message, param="file_id", code="invalid_state")
        digests.add(prompt_digest(value))
    if len(digests) < 2:
        raise InvalidRequest(f"{file.filename} asks only one thing; nothing can be held out", param="file_id")
    num_held_out = min(max(1, round(share * len(digests))), len(digests) - 1)
    held_out = set(random.Random(seed).sample(sorted(digests), num_held_out))

    def is_held_out(line: Line) -> bool:
        value = _read(line).value
        return value is not None and prompt_digest(value) in held_out

    with _collect(file, lambda line: not is_held_out(line)) as training, _collect(file, is_held_out) as validation:
        return _create(file, "train", training), _create(file, "validation", validation)


def _create(file: File, suffix: str, source: IO[bytes]) -> File:
    stem = file.filename.rpartition(".")[0][: 255 - len(suffix) - 7]
    return file_create(
        project=file.project, purpose=Purpose.FINE_TUNE, filename=f"{stem}.{suffix}.jsonl", source=source
    )


def _collect(file: File, takes: Callable[[Line], bool]) -> IO[bytes]:
    kept = tempfile.TemporaryFile(dir=settings.FETTLE.temporary_dir)  # noqa: SIM115 -- the caller closes it
    try:
        for line in _lines(file):
            if line.data is not None and takes(line):
                kept.write(line.data + b"\n")
        kept.seek(0)
    except BaseException:
        kept.close()
        raise
    return kept


def _lines(file: File) -> Iterator[Line]:
    with get_store().open(file.store_key) as stream:
        for line in iterate_lines(stream, max_bytes=settings.FETTLE.max_line_bytes):
            if line.data is None or line.data.strip():
                yield line


def _contains(line: Line, text: str) -> bool:
    if not text:
        return True
    raw = (line.data or b"").decode("utf-8", "replace").lower()
    return text.lower() in raw or text.lower() in raw.replace('\\"', '"').replace("\\n", "\n")


def _read(line: Line) -> Row:
    findings = Findings()
    value = parse_line(line, findings)
    if value is not None:
        check_row(value, line.number, findings)
    raw = (line.data or b"").decode("utf-8", "replace")[:MAX_SHOWN_CHARS]
    return Row(line.number, raw, value, findings.causes())
