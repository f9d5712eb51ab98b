"""Training and held-out rows: JSON Lines in, prompts as token ids out. Rendered once, never re-tokenized."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fettle_workers.contract.spec import TrainSpec
from fettle_workers.engine.chat import ChatError, ChatFormat
from fettle_workers.engine.errors import JobFailed
from fettle_workers.engine.select import MIN_ITEMS_FOR_CLAIM, report_split

Source = Literal["training_file", "validation_file"]

MAX_IN_SAMPLE_ROWS = 200
MIN_ROWS_FOR_CLAIM = 20


@dataclass(frozen=True)
class RawRow:
    """A line of a file: `index` counts from 0, as rows do everywhere; messages to people count lines from 1."""

    source: Source
    index: int
    item: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.source} row {self.index} (line {self.index + 1})"

    @property
    def error_code(self) -> str:
        return "invalid_training_file" if self.source == "training_file" else "invalid_validation_file"

    def failed(self, found: str) -> JobFailed:
        return JobFailed(self.error_code, f"{self.name}: {found}", param=self.source)


@dataclass(frozen=True)
class Row(RawRow):
    """A row of a reinforcement job. `item` is the whole row: graders read its keys as `item.<key>`."""

    prompt_ids: tuple[int, ...]

    @property
    def prompt_text(self) -> str:
        """What the user said last, for people."""
        content = self.item["messages"][-1].get("content")
        return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


@dataclass(frozen=True)
class RawData:
    """The rows of a job, split. `in_sample`: nothing could be held out, so `held_out` are training rows."""

    train: tuple[RawRow, ...]
    held_out: tuple[RawRow, ...]
    in_sample: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Data:
    """The rows of a reinforcement job with their prompts.

    Attributes:
        select: rows that checkpoints are evaluated on during training.
        report: rows that the final gain is measured on; equal to `select` when there are few.
    """

    train: tuple[Row, ...]
    select: tuple[Row, ...]
    report: tuple[Row, ...]
    in_sample: bool

    @property
    def longest_prompt(self) -> int:
        return max(len(row.prompt_ids) for row in (*self.train, *self.select, *self.report))


def load_rows(spec: TrainSpec, folder: Path) -> RawData:
    """Read the job's files from `folder`, where each is named by its SHA-256, and hold rows out.

    Raises:
        JobFailed: `invalid_training_file` or `invalid_validation_file`, naming the line.
    """
    train = read_rows(folder / spec.training_file.sha256, "training_file")
    if spec.validation_file is not None:
        held_out = read_rows(folder / spec.validation_file.sha256, "validation_file")
        return RawData(train, held_out, in_sample=False, warnings=_overlap_warnings(train, held_out))
    kept, held_out = split_rows(train, spec.validation_split or 0.0)
    if len(held_out) >= MIN_ITEMS_FOR_CLAIM and kept:
        return RawData(kept, held_out, in_sample=False)
    warning = (
        f"{len(train)} rows are too few to hold any out: checkpoints are compared on the training rows with fresh "
        "random numbers, and no improvement is claimed. Add a validation file to get a claim."
    )
    return RawData(train, train[:MAX_IN_SAMPLE_ROWS], in_sample=True, warnings=(warning,))


def read_rows(path: Path, source: Source) -> tuple[RawRow, ...]:
    """The rows of one JSON Lines file; blank lines are skipped but counted.

    Raises:
        JobFailed: no rows, a line that is not a JSON object, or a row without `messages`.
    """
    code = "invalid_training_file" if source == "training_file" else "invalid_validation_file"
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise JobFailed(code, f"{source} is not UTF-8 text: {error}", param=source) from None
    except OSError as error:
        raise JobFailed(code, f"{source} cannot be read: {error}", param=source) from None
    rows = tuple(_parsed_rows(text, source))
    if not rows:
        raise JobFailed(code, f"{source} has no rows; expected one JSON object a line", param=source)
    return rows


def _parsed_rows(text: str, source: Source) -> Iterator[RawRow]:
    # Not splitlines(): it also cuts at characters that JSON allows inside a string (U+2028 among them).
    for index, line in enumerate(text.split("\n")):
        if not line.strip():
            continue
        row = RawRow(source, index, {})
        try:
            item = json.loads(line)
        except ValueError as error:
            raise row.failed(f"not valid JSON ({error})") from None
        if not isinstance(item, dict):
            raise row.failed(f"a {type(item).__name__}; expected a JSON object")
        messages = item.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
            raise row.failed('has no list of "messages"; expected at least one {"role": ..., "content": ...}')
        yield RawRow(source, index, item)


def split_rows(rows: tuple[RawRow, ...], share: float) -> tuple[tuple[RawRow, ...], tuple[RawRow, ...]]:
    """Rows kept for training and rows held out, by a hash of their content: adding rows moves few others.

    Equal rows land on the same side, so nothing held out was trained on. Of 20 rows or more at least 5 are held out,
    if any are to be: with fewer nothing could be claimed.
    """
    digests = {row.index: _digest(row) for row in rows}
    distinct = sorted(set(digests.values()))
    num = round(share * len(distinct))
    if share and len(distinct) >= MIN_ROWS_FOR_CLAIM:
        num = max(num, MIN_ITEMS_FOR_CLAIM)
    chosen = set(distinct[:num])
    held_out = tuple(row for row in rows if digests[row.index] in chosen)
    return tuple(row for row in rows if digests[row.index] not in chosen), held_out


def _digest(row: RawRow) -> str:
    canonical = json.dumps(row.item, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def _overlap_warnings(train: tuple[RawRow, ...], held_out: tuple[RawRow, ...]) -> tuple[str, ...]:
    seen = {_digest(row) for row in train}
    num_shared = sum(_digest(row) in seen for row in held_out)
    if not num_shared:
        return ()
    return (f"{num_shared} of {len(held_out)} validation rows are also training rows: the measured gain is too high",)


def render_data(
    raw: RawData,
    chat: ChatFormat,
    *,
    context_size: int,
    response_format: Mapping[str, Any] | None,
    reasoning_effort: str,
) -> Data:
    """Render every prompt once.

    Raises:
        JobFailed: a row that the chat template refuses or that leaves no room for an answer, naming the row.
    """
    effort = None if reasoning_effort == "default" else reasoning_effort

    def rendered(raw_row: RawRow) -> Row:
        try:
            ids = chat.render(
                raw_row.item["messages"],
                tools=raw_row.item.get("tools"),
                response_format=response_format,
                reasoning_effort=effort,
            )
        except ChatError as error:
            raise raw_row.failed(str(error)) from None
        if len(ids) >= context_size:
            raise raw_row.failed(
                f"the prompt has {len(ids)} tokens, but the model's context is {context_size} and the answer needs room"
            )
        return Row(raw_row.source, raw_row.index, raw_row.item, tuple(ids))

    train = tuple(map(rendered, raw.train))
    held_out = tuple(map(rendered, raw.held_out))
    select, report = (tuple(held_out[i] for i in part) for part in report_split(len(held_out)))
    return Data(train, select, select if select == report else report, raw.in_sample)
