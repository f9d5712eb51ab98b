"""Reads pages of stored rollouts: the index says which Parquet file holds a step, the file says the rest."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any, BinaryIO

from django.db.models import Q

from fettle_platform.core.errors import InvalidRequest, NotFound
from fettle_platform.core.storage import BlobMissing, get_store
from fettle_platform.jobs.models import Job, RolloutFile
from fettle_platform.jobs.selectors import rollout_files

TOKEN_COLUMNS = ("prompt_ids", "ids", "logprobs")
_JSON_COLUMNS = ("tool_calls", "sub_rewards")
_FILTERS = ("step", "row", "purpose")
_FINAL = "final"


@dataclass(frozen=True)
class RolloutQuery:
    """Which rollouts. `after` is (name of the file, position in it) of the rollout to go on from."""

    step: int | None = None
    row: int | None = None
    purpose: str | None = None
    after: tuple[str, int] | None = None
    limit: int = 100
    with_tokens: bool = False


def rollout_page(job: Job, query: RolloutQuery) -> dict[str, Any]:
    """The next rollouts in the order they were written, as a cursor page.

    Raises:
        NotFound: a file of the index is gone from the store.
    """
    files = rollout_files(job)
    if query.step is not None:
        files = files.filter(first_step__lte=query.step, last_step__gte=query.step)
    if query.after is not None:
        name = query.after[0]
        files = files.filter(Q(final=True) if name == _FINAL else Q(final=True) | Q(last_step__gte=int(name)))
    found: list[dict[str, Any]] = []
    for file in files.iterator():
        found += _rollouts(file, query, query.limit + 1 - len(found))
        if len(found) > query.limit:
            break
    shown = found[: query.limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(found) > query.limit,
    }


def _rollouts(file: RolloutFile, query: RolloutQuery, limit: int) -> list[dict[str, Any]]:
    # Imported here: it costs every process tens of megabytes, and only this page reads Parquet.
    import pyarrow.parquet as pq

    with _seekable(file) as source, pq.ParquetFile(source) as parquet:
        start = query.after[1] + 1 if query.after and query.after[0] == _name(file) else 0
        positions = _matching(parquet, query, start, limit)
        names = [name for name in parquet.schema_arrow.names if query.with_tokens or name not in TOKEN_COLUMNS]
        rows = parquet.read(columns=names).take(positions).to_pylist() if positions else []
    return [
        {"id": f"rollout-{_name(file)}-{position}", "object": "fettle.rollout", **_decoded(row)}
        for position, row in zip(positions, rows, strict=True)
    ]


def _name(file: RolloutFile) -> str:
    return _FINAL if file.final else str(file.last_step)


def _matching(parquet: Any, query: RolloutQuery, start: int, limit: int) -> list[int]:
    """Positions in the file, from `start` on, at most `limit`."""
    wanted = {name: value for name in _FILTERS if (value := getattr(query, name)) is not None}
    if not wanted:
        return list(range(start, min(parquet.metadata.num_rows, start + limit)))
    columns = {name: parquet.read(columns=[name]).column(0).to_pylist() for name in wanted}
    positions = range(start, parquet.metadata.num_rows)
    matching = (i for i in positions if all(columns[name][i] == value for name, value in wanted.items()))
    return [position for position, _ in zip(matching, range(limit), strict=False)]


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    for name in _JSON_COLUMNS:
        if isinstance(row.get(name), str):
            row[name] = json.loads(row[name])
    return row


def _seekable(file: RolloutFile) -> BinaryIO:
    """Parquet is read from its end; a stream from S3 has to be in memory for that."""
    try:
        stream = get_store().open(file.key)
    except BlobMissing as error:
        which = "of the final measurements" if file.final else f"up to step {file.last_step}"
        raise NotFound(f"The rollouts {which} are no longer in the store.") from error
    if isinstance(stream, io.IOBase) and stream.seekable():
        return stream
    with stream:
        return io.BytesIO(stream.read())


def parse_rollout_id(text: str) -> tuple[str, int]:
    """`rollout-8-3` -> ("8", 3), `rollout-final-0` -> ("final", 0). Raises InvalidRequest: not the id of a rollout."""
    match text.split("-"):
        case ["rollout", file, position] if (file == _FINAL or _is_number(file)) and _is_number(position):
            return (file if file == _FINAL else str(int(file))), int(position)
    raise InvalidRequest(f"after is {text[:80]!r}; expected the id of a rollout of this job", param="after")


def _is_number(part: str) -> bool:
    return part.isascii() and part.isdecimal() and len(part) < 10
