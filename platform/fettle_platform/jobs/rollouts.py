"""Reads pages of stored rollouts: the index says which Parquet file holds a step, the file says the rest."""

from __future__ import annotations

import contextlib
import functools
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from django.db.models import Q

from fettle_platform.core.errors import InvalidRequest, NotFound
from fettle_platform.core.storage import BlobMissing, get_store
from fettle_platform.jobs.models import Job, RolloutFile
from fettle_platform.jobs.selectors import rollout_files

TOKEN_COLUMNS = ("prompt_ids", "ids", "logprobs", "token_chars")
_JSON_COLUMNS = ("tool_calls", "sub_rewards")
_FILTERS = ("step", "row", "purpose")
_FINAL = "final"


@dataclass(frozen=True)
class RolloutQuery:
    """Which rollouts. `after` is (name of the file, position in it) of the rollout to go on from.

    `reward_min` belongs to the range, `reward_max` does not. `text` is looked for in answer and thinking, whatever the
    case of letters; `failed` asks for those whose grading failed.
    """

    step: int | None = None
    row: int | None = None
    purpose: str | None = None
    reward_min: float | None = None
    reward_max: float | None = None
    text: str | None = None
    failed: bool = False
    after: tuple[str, int] | None = None
    limit: int = 100
    with_tokens: bool = False


def rollout_page(job: Job, query: RolloutQuery) -> dict[str, Any]:
    """The next rollouts in the order they were written, as a cursor page.

    Raises:
        NotFound: a file of the index is gone from the store.
    """
    found: list[dict[str, Any]] = []
    for file in matching_files(job, query):
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


def matching_files(job: Job, query: RolloutQuery) -> Iterator[RolloutFile]:
    """Those that may hold what is asked for, in their order."""
    files = rollout_files(job)
    if query.step is not None:
        files = files.filter(first_step__lte=query.step, last_step__gte=query.step)
    if query.after is not None:
        name = query.after[0]
        files = files.filter(Q(final=True) if name == _FINAL else Q(final=True) | Q(last_step__gte=int(name)))
    return files.iterator()


@contextlib.contextmanager
def open_parquet(file: RolloutFile) -> Iterator[Any]:
    # Imported here: it costs every process tens of megabytes, and only this page reads Parquet.
    import pyarrow.parquet as pq

    with _seekable(file) as source, pq.ParquetFile(source) as parquet:
        yield parquet


def matching_table(parquet: Any, query: RolloutQuery, columns: Sequence[str]) -> Any:
    """The asked rows of a file with those of the columns that it has."""
    names = [name for name in columns if name in parquet.schema_arrow.names]
    table = parquet.read(columns=names)
    mask = _mask(parquet, query)
    return table if mask is None else table.filter(mask)


def _rollouts(file: RolloutFile, query: RolloutQuery, limit: int) -> list[dict[str, Any]]:
    with open_parquet(file) as parquet:
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
    mask = _mask(parquet, query)
    if mask is None:
        return list(range(start, min(parquet.metadata.num_rows, start + limit)))
    import pyarrow.compute as pc

    positions = pc.indices_nonzero(mask).to_pylist()
    return [position for position in positions if position >= start][:limit]


def _mask(parquet: Any, query: RolloutQuery) -> Any:
    """True for each row of the file that is asked for; None: all of them are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def column(name: str) -> Any:
        if name in parquet.schema_arrow.names:
            return parquet.read(columns=[name]).column(0)
        return pa.nulls(parquet.metadata.num_rows, pa.string())

    masks = [pc.equal(column(name), value) for name in _FILTERS if (value := getattr(query, name)) is not None]
    if query.reward_min is not None:
        masks.append(pc.greater_equal(column("reward"), query.reward_min))
    if query.reward_max is not None:
        masks.append(pc.less(column("reward"), query.reward_max))
    if query.failed:
        masks.append(pc.is_null(column("reward")))
    if query.text:
        found = [pc.match_substring(column(name), query.text, ignore_case=True) for name in ("text", "reasoning")]
        masks.append(pc.or_(*(pc.fill_null(one, fill_value=False) for one in found)))
    if not masks:
        return None
    return pc.fill_null(functools.reduce(pc.and_, masks), fill_value=False)


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


GroupKey = tuple[str, int, str, int]  # purpose, step, source, row
Place = tuple[RolloutFile, int]  # a file of the index, and a position in it
_KEY_COLUMNS = ("purpose", "step", "source", "row")


def rollout_places(job: Job, *, step: int | None = None, purpose: str | None = None) -> dict[GroupKey, list[Place]]:
    """Where the answers to each prompt in each step lie, in the order they were written.

    Raises:
        NotFound: a file of the index is gone from the store.
    """
    import pyarrow.parquet as pq

    files = rollout_files(job)
    if step is not None:
        files = files.filter(first_step__lte=step, last_step__gte=step)
    found: dict[GroupKey, list[Place]] = {}
    for file in files.iterator():
        with _seekable(file) as source:
            columns = pq.read_table(source, columns=list(_KEY_COLUMNS)).to_pydict()
        for position, key in enumerate(zip(*(columns[name] for name in _KEY_COLUMNS), strict=True)):
            if (step is None or key[1] == step) and (purpose is None or key[0] == purpose):
                found.setdefault(key, []).append((file, position))
    return found


def rollouts_at(places: Iterable[Place], columns: Sequence[str]) -> dict[Place, dict[str, Any]]:
    """These columns of these answers; every file is read once."""
    import pyarrow.parquet as pq

    wanted: dict[RolloutFile, list[int]] = {}
    for file, position in places:
        wanted.setdefault(file, []).append(position)
    found: dict[Place, dict[str, Any]] = {}
    for file, positions in wanted.items():
        with _seekable(file) as source:
            rows = pq.read_table(source, columns=list(columns)).take(positions).to_pylist()
        found |= {(file, position): row for position, row in zip(positions, rows, strict=True)}
    return found


def parse_rollout_id(text: str) -> tuple[str, int]:
    """`rollout-8-3` -> ("8", 3), `rollout-final-0` -> ("final", 0). Raises InvalidRequest: not the id of a rollout."""
    match text.split("-"):
        case ["rollout", file, position] if (file == _FINAL or _is_number(file)) and _is_number(position):
            return (file if file == _FINAL else str(int(file))), int(position)
    raise InvalidRequest(f"after is {text[:80]!r}; expected the id of a rollout of this job", param="after")


def _is_number(part: str) -> bool:
    return part.isascii() and part.isdecimal() and len(part) < 10
