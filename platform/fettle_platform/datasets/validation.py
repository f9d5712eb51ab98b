"""Reads the rows of fine-tune files, line by line and in constant memory, and says what is wrong with them.

Usage by jobs: `validate_rows_for(file, method="reinforcement", item_paths=item_paths(grader))` -> `RowReport`;
`report.is_valid`, `report.describe("training file")`; and `find_overlap(training_file, validation_file)`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from django.conf import settings

from fettle_platform.core import strict_json
from fettle_platform.core.storage import get_store
from fettle_platform.datasets.lines import Line, iterate_lines
from fettle_platform.datasets.models import File
from fettle_platform.datasets.report import Findings, RowReport, shown
from fettle_platform.datasets.rows import Method, check_row, check_row_for
from fettle_platform.datasets.statistics import Statistics, json_type

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
RowCheck = Callable[[dict[str, Any], int, Findings], None]


@dataclass(frozen=True)
class Overlap:
    """Prompts that stand in both files. `examples`: up to ten pairs (training line, validation line)."""

    num_rows: int
    examples: tuple[tuple[int, int], ...]


def validate_rows(stream: BinaryIO) -> RowReport:
    """The rules of every fine-tune file; what an upload is checked with. The caller closes the stream."""
    return _read(stream, check_row)


def validate_rows_for(file: File, *, method: Method, item_paths: Sequence[str] = ()) -> RowReport:
    """The general rules and those of a method.

    Args:
        item_paths: what the grader reads from a row, as `fettle_graders.spec.item_paths` spells it (`item.answer`).
    """

    def check(row: dict[str, Any], line: int, findings: Findings) -> None:
        check_row(row, line, findings)
        check_row_for(row, line, findings, method=method, item_paths=item_paths)

    with get_store().open(file.store_key) as stream:
        return _read(stream, check)


def find_overlap(training: File, validation: File) -> Overlap:
    """Which validation prompts were also given for training. A measured gain on such rows proves nothing."""
    training_lines = _prompt_lines(training)
    pairs = [
        (training_lines[digest], line) for digest, line in _prompt_lines(validation).items() if digest in training_lines
    ]
    return Overlap(len(pairs), tuple(pairs[:10]))


def prompt_digest(row: dict[str, Any]) -> bytes:
    """Equal for rows that ask the same: the messages up to a final answer, whatever the order of their keys."""
    messages = row.get("messages")
    asked = messages[:-1] if isinstance(messages, list) and _ends_with_answer(messages) else messages
    canonical = json.dumps([asked, row.get("tools")], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).digest()[:16]


def _ends_with_answer(messages: list[Any]) -> bool:
    return bool(messages) and isinstance(messages[-1], dict) and messages[-1].get("role") == "assistant"


def _prompt_lines(file: File) -> dict[bytes, int]:
    """The digest of each prompt and the line it first stands on. Lines that are no rows are skipped."""
    lines: dict[bytes, int] = {}
    ignored = Findings()
    with get_store().open(file.store_key) as stream:
        for line in iterate_lines(stream, max_bytes=settings.FETTLE.max_line_bytes):
            row = parse_line(line, ignored)
            if row is not None and isinstance(row.get("messages"), list):
                lines.setdefault(prompt_digest(row), line.number)
    return lines


def _read(stream: BinaryIO, check: RowCheck) -> RowReport:
    findings, statistics = Findings(), Statistics()
    seen: dict[bytes, int] = {}
    num_rows = 0
    for line in iterate_lines(stream, max_bytes=settings.FETTLE.max_line_bytes):
        statistics.size_bytes += line.size_bytes + 1
        statistics.longest_line_bytes = max(statistics.longest_line_bytes, line.size_bytes)
        if line.number == 1 and line.data is not None and line.data.startswith(_UTF16_MARKS):
            expected = "UTF-8; save the file as UTF-8"
            findings.error(1, "utf16", "", "the file is UTF-16", expected=expected, found="a UTF-16 mark")
            break
        if line.data is not None and not line.data.removeprefix(_UTF8_MARK).strip():
            findings.warning(
                line.number, "blank_line", "", "a blank line is skipped", expected="one row a line", found="blank"
            )
            continue
        num_rows += 1
        if num_rows > settings.FETTLE.max_rows:
            limit = settings.FETTLE.max_rows
            text = f"the file has more than {limit} rows; reading stopped here"
            findings.error(line.number, "too_many_rows", "", text, expected=f"at most {limit} rows", found="more")
            break
        row = parse_line(line, findings)
        if row is not None:
            statistics.add(row)
            check(row, line.number, findings)
            _note_repeat(row, line.number, seen, findings, statistics)
    if num_rows == 0 and not findings.num_errors:
        findings.error(1, "no_rows", "", "the file has no rows", expected="one JSON object a line", found="nothing")
    return RowReport(num_rows, findings.num_errors, findings.num_warnings, findings.causes(), statistics)


def parse_line(line: Line, findings: Findings) -> dict[str, Any] | None:
    """The row, or None after the reason was noted."""
    if line.data is None:
        limit = settings.FETTLE.max_line_bytes
        expected, found = f"at most {limit} bytes", f"{line.size_bytes} bytes"
        findings.error(line.number, "line_too_long", "", "the line is too long", expected=expected, found=found)
        return None
    data = line.data
    if line.number == 1 and data.startswith(_UTF8_MARK):
        data = data.removeprefix(_UTF8_MARK)
        text = "the file begins with a byte order mark, which is skipped"
        findings.warning(1, "byte_order_mark", "", text, expected="plain UTF-8", found="EF BB BF")
    try:
        row = strict_json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        text, found = "the line is not UTF-8", f"byte 0x{data[error.start]:02x} at position {error.start + 1}"
        findings.error(line.number, "invalid_utf8", "", text, expected="UTF-8", found=found)
        return None
    except strict_json.StrictJSONError as error:
        detail = str(error).removeprefix("not valid JSON at ")
        found = shown(f"{data[:60].decode('utf-8', 'replace')!r} ({detail})", limit=200)
        expected = _EXPECTED.get(error.code, "one JSON object a line")
        findings.error(line.number, error.code, "", _MESSAGES[error.code], expected=expected, found=found)
        return None
    if not isinstance(row, dict):
        text = "the line is not a JSON object"
        findings.error(line.number, "not_an_object", "", text, expected="an object {...}", found=json_type(row))
        return None
    return row


_MESSAGES = {
    "invalid_json": "the line is not valid JSON",
    "not_a_number": "the line holds NaN or Infinity, which is not JSON",
    "number_out_of_range": "a number is too large",
    "duplicate_key": "a key is given twice in one object",
    "nested_too_deep": "the row is nested too deep",
    "null_character": "a string contains the null character",
    "unpaired_surrogate": "a string contains half of a surrogate pair",
}
_EXPECTED = {
    "not_a_number": "a number, or null",
    "number_out_of_range": "numbers within a double's range",
    "duplicate_key": "each key once",
    "nested_too_deep": f"at most {strict_json.MAX_DEPTH} levels",
    "null_character": "text without \\u0000",
    "unpaired_surrogate": "complete characters",
}


def _note_repeat(
    row: dict[str, Any], line: int, seen: dict[bytes, int], findings: Findings, statistics: Statistics
) -> None:
    if not isinstance(row.get("messages"), list):
        return
    digest = prompt_digest(row)
    first = seen.setdefault(digest, line)
    if first != line:
        statistics.num_repeated_prompts += 1
        text = "the same prompt stands on an earlier line"
        findings.warning(line, "repeated_prompt", "", text, expected="each prompt once", found=f"line {first}")
