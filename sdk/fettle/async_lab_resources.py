"""The asynchronous twin of `lab_resources`: the same requests, awaited."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from openai.pagination import AsyncCursorPage

from fettle import graders
from fettle.data import Data
from fettle.follow import deadline
from fettle.grader_function import check_offline
from fettle.lab_resources import AnyGrader, Source
from fettle.lab_results import (
    Calibration,
    GraderTest,
    GraderVersion,
    Preflight,
    RedTeam,
    Regrade,
    StoredGrader,
)
from fettle.preflight import ended, first, must_wait_again
from fettle.requests import MAX_INLINE_ROWS, answer_source, lab_body, path
from fettle.results import GraderResult

if TYPE_CHECKING:
    from fettle.client import AsyncFettle


class AsyncGraderResources:
    """`client.graders`."""

    def __init__(self, client: AsyncFettle) -> None:
        self._client = client

    async def validate(self, grader: AnyGrader) -> dict[str, Any]:
        """The grader as the server understands it."""
        body = {"grader": graders.load(grader)}
        answer = await self._client.post("/fine_tuning/alpha/graders/validate", cast_to=object, body=body)
        return cast(dict[str, Any], cast(dict[str, Any], answer)["grader"])

    async def run(self, grader: AnyGrader, *, answer: str, item: Mapping[str, Any] | None = None) -> GraderResult:
        """Grade one answer. A grader that fails says so in `metadata["errors"]`, with reward 0."""
        body = {"grader": graders.load(grader), "model_sample": answer, "item": dict(item or {})}
        return await self._client.post("/fine_tuning/alpha/graders/run", cast_to=GraderResult, body=body)

    def run_offline(self, grader: AnyGrader, *, answer: str, item: Mapping[str, Any] | None = None) -> GraderResult:
        """The same on this machine, where `fettle-server` is installed. Judges and remote graders need a server."""
        return check_offline(graders.load(grader), answer, item)

    async def test(
        self,
        grader: AnyGrader,
        data: Data | None = None,
        *,
        source: Source = "reference",
        gold: str | None = None,
        num_rows: int | None = None,
        seed: int | None = None,
    ) -> GraderTest:
        """Grade many answers: how the scores are spread, what fails, and which right answers do not win.

        Args:
            data: rows, as for `finetune`; left out for stored answers of a job, which bring their own.
            gold: writes each row's right answer, such as `"{{item.answer}}"`.
        """
        body = lab_body(
            grader, await self._rows(data), source=answer_source(source, gold), gold=gold, num_rows=num_rows, seed=seed
        )
        return await self._client.post(path("graders", "test"), cast_to=GraderTest, body=body)

    async def red_team(
        self,
        grader: AnyGrader,
        data: Data | None = None,
        *,
        gold: str | None = None,
        honest: Source | None = None,
        num_rows: int | None = None,
        seed: int | None = None,
    ) -> RedTeam:
        """Answers that deserve nothing, against the right ones that `gold` writes or the answers of `honest`."""
        source = None if honest is None else answer_source(honest, gold)
        body = lab_body(grader, await self._rows(data), gold=gold, honest=source, num_rows=num_rows, seed=seed)
        return await self._client.post(path("graders", "red_team"), cast_to=RedTeam, body=body)

    async def regrade(
        self,
        grader: AnyGrader,
        job_id: str,
        *,
        purpose: str | None = None,
        step: int | None = None,
        num_groups: int | None = None,
    ) -> Regrade:
        """A job's stored answers under another grader: what training would have done differently."""
        body = lab_body(grader, {}, job_id=job_id, purpose=purpose, step=step, num_groups=num_groups)
        return await self._client.post(path("graders", "regrade"), cast_to=Regrade, body=body)

    async def calibrate(
        self,
        grader: AnyGrader,
        answers: Sequence[Mapping[str, Any]],
        *,
        repeats: int | None = None,
        label_threshold: float | None = None,
        score_threshold: float | None = None,
    ) -> Calibration:
        """A grader against people: `answers` are `{"item": ..., "text": ..., "label": number}`."""
        body = lab_body(
            grader,
            {"answers": [dict(answer) for answer in answers]},
            repeats=repeats,
            label_threshold=label_threshold,
            score_threshold=score_threshold,
        )
        return await self._client.post(path("graders", "calibrate"), cast_to=Calibration, body=body)

    async def store(self, name: str, grader: AnyGrader, *, note: str = "") -> StoredGrader:
        """Keep a grader under a name; this is its version 1."""
        body = {"name": name, "grader": graders.load(grader), "note": note}
        return await self._client.post(path("graders"), cast_to=StoredGrader, body=body)

    async def list(self, *, limit: int = 20) -> Sequence[StoredGrader]:
        """Stored graders, the newest first."""
        pages = self._client.get_api_list(path("graders"), model=StoredGrader, page=AsyncCursorPage[StoredGrader])
        return await first(pages, limit)

    async def retrieve(self, grader_id: str) -> StoredGrader:
        return await self._client.get(path("graders", grader_id), cast_to=StoredGrader)

    async def add_version(self, grader_id: str, grader: AnyGrader, *, note: str = "") -> GraderVersion:
        """The next version; the newest one itself when the definition is the same."""
        body = {"grader": graders.load(grader), "note": note}
        return await self._client.post(path("graders", grader_id, "versions"), cast_to=GraderVersion, body=body)

    async def versions(self, grader_id: str) -> Sequence[GraderVersion]:
        """The newest first."""
        pages = self._client.get_api_list(
            path("graders", grader_id, "versions"), model=GraderVersion, page=AsyncCursorPage[GraderVersion]
        )
        return [version async for version in pages]

    async def version(self, version_id: str) -> GraderVersion:
        """One version by its id, as a job shows it; also of a deleted grader."""
        return await self._client.get(path("graders", "versions", version_id), cast_to=GraderVersion)

    async def diff(self, grader_id: str, *, old: int | None = None, new: int | None = None) -> dict[str, Any]:
        """Two versions and their `changes`; the newest two unless numbers are given."""
        params = {name: value for name, value in (("from", old), ("to", new)) if value is not None}
        found = await self._client.get(path("graders", grader_id, "diff"), cast_to=object, options={"params": params})
        return cast(dict[str, Any], found)

    async def delete(self, grader_id: str) -> None:
        """Hide it. Jobs keep the definition they were made with."""
        await self._client.delete(path("graders", grader_id), cast_to=object)

    async def _rows(self, data: Data | None) -> dict[str, Any]:
        """Rows in the request where it is a short list of them, else a file on the server."""
        if data is None:
            return {}
        if isinstance(data, (str, os.PathLike)) or len(data) > MAX_INLINE_ROWS:
            return {"file_id": (await self._client.upload(data)).id}
        return {"rows": [dict(row) for row in data]}


class AsyncPreflightResources:
    """`client.fettle.preflights`. `client.preflight(...)` makes one."""

    def __init__(self, client: AsyncFettle) -> None:
        self._client = client

    async def retrieve(self, preflight_id: str) -> Preflight:
        return await self._client.get(path("preflight", preflight_id), cast_to=Preflight)

    async def list(self, *, limit: int = 20) -> Sequence[Preflight]:
        """The newest first; their reports come without `rows`."""
        pages = self._client.get_api_list(path("preflight"), model=Preflight, page=AsyncCursorPage[Preflight])
        return await first(pages, limit)

    async def cancel(self, preflight_id: str) -> Preflight:
        return await self._client.post(path("preflight", preflight_id, "cancel"), cast_to=Preflight)

    async def wait(
        self,
        preflight_id: str,
        *,
        timeout: float | None = None,
        poll_s: float = 1.0,
        on_phase: Callable[[str], None] | None = None,
    ) -> Preflight:
        """The preflight with its report.

        Args:
            on_phase: called with what it is doing, in words, whenever that changes.

        Raises:
            JobFailed: it failed or was cancelled.
            JobTimeout: `timeout` seconds passed first; it goes on.
        """
        until, phase = deadline(timeout, time.monotonic()), None
        while True:
            found = await self.retrieve(preflight_id)
            if on_phase is not None and found.phase not in (phase, None):
                on_phase(found.phase or "")
            phase = found.phase
            if found.done:
                return ended(found)
            await asyncio.sleep(must_wait_again(until, time.monotonic(), poll_s))
