"""The clients: OpenAI's own, bound to a Fettle server, with fine-tuning made short."""

from __future__ import annotations

import asyncio
import inspect
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

from openai import AsyncOpenAI, NotFoundError, OpenAI
from openai.types import FileObject
from openai.types.fine_tuning import FineTuningJob

from fettle import env, uploads
from fettle.async_jobs import AsyncFineTuneJob
from fettle.async_lab_resources import AsyncGraderResources
from fettle.async_resources import AsyncFettleResources
from fettle.data import Data, FileId, Upload, source_of
from fettle.errors import MissingApiKey
from fettle.jobs import FineTuneJob
from fettle.lab_resources import GraderResources
from fettle.lab_results import Preflight
from fettle.preflight import preflight_id
from fettle.requests import CHUNKED_ABOVE_BYTES, Hyperparameters, Method, job_request, preflight_body
from fettle.resources import FettleResources
from fettle.results import FileReport


class Fettle(OpenAI):
    """An `openai.OpenAI` that talks to a Fettle server. Whatever the official client can do, this can do.

    Args:
        api_key: default `FETTLE_API_KEY`.
        base_url: default `FETTLE_BASE_URL`, else `http://127.0.0.1:8000/v1`.
        options: any other argument of `openai.OpenAI`.

    Raises:
        MissingApiKey: there is no key.
    """

    def __init__(self, *, api_key: str | Callable[[], str] | None = None, base_url: Any = None, **options: Any) -> None:
        super().__init__(**_client_options(OpenAI, api_key, base_url, options))
        _forget_other_account(self, options)

    @cached_property
    def fettle(self) -> FettleResources:
        """Resources that only Fettle has."""
        return FettleResources(self)

    @cached_property
    def graders(self) -> GraderResources:
        """Try, test and keep graders."""
        return self.fettle.graders

    def finetune(
        self,
        *,
        model: str,
        data: Data,
        grader: Mapping[str, Any] | str | Path | None = None,
        validation: Data | None = None,
        method: Method = "reinforcement",
        response_format: Mapping[str, Any] | None = None,
        suffix: str | None = None,
        seed: int | None = None,
        metadata: Mapping[str, str] | None = None,
        validation_split: float = 0.2,
        hyperparameters: Mapping[str, Any] | None = None,
        preflight: Preflight | str | None = None,
        wait: bool = False,
        progress: uploads.Progress = None,
        **fields: Unpack[Hyperparameters],
    ) -> FineTuneJob:
        """Upload what is not uploaded yet, create a fine-tuning job, and return it.

        Args:
            data: the path of a .jsonl file, a list of rows, or the id of an uploaded file.
            grader: a dictionary (see `fettle.graders`) or the path of a .json, .toml or .py file.
            validation: held-out rows, as `data`. Without them the server holds out `validation_split` of the rows.
            method: "supervised" imitates the rows' answers and takes no grader.
            hyperparameters: training fields; they may be given as keywords instead, like `n_epochs=3`.
            preflight: what `preflight` gave, or its id; its graded answers become the evaluation at step 0.
            wait: block until the job ends, drawing its progress; raises `JobFailed` when it ends without a model.
            progress: False draws no upload bar; a function is called with (sent_bytes, total_bytes).

        Raises:
            InvalidRequest: an argument cannot work.
            InvalidData: a file has broken rows; every problem names its lines.
        """
        request = job_request(
            model=model,
            grader=grader,
            method=method,
            response_format=response_format,
            suffix=suffix,
            seed=seed,
            metadata=metadata,
            validation_split=validation_split,
            hyperparameters=hyperparameters,
            fields=fields,
            preflight_id=preflight_id(preflight),
        )
        training, held_out = _sources(data, validation, suffix)
        training_file = self._file_id(training, progress)
        validation_file = self._file_id(held_out, progress) if held_out else None
        raw = self.post(
            "/fine_tuning/jobs",
            cast_to=FineTuningJob,
            body=request.body(training_file, validation_file),
            options={"headers": _idempotency()},
        )
        job = FineTuneJob(self, raw)
        return job.wait() if wait else job

    def preflight(
        self,
        *,
        model: str,
        data: Data,
        grader: Mapping[str, Any] | str | Path,
        validation: Data | None = None,
        response_format: Mapping[str, Any] | None = None,
        seed: int | None = None,
        metadata: Mapping[str, str] | None = None,
        validation_split: float = 0.2,
        hyperparameters: Mapping[str, Any] | None = None,
        num_rows: int | None = None,
        samples_per_row: int | None = None,
        pass_threshold: float | None = None,
        wait: bool = True,
        timeout: float | None = None,
        progress: uploads.Progress = None,
        **fields: Unpack[Hyperparameters],
    ) -> Preflight:
        """Have the base answer and be graded, before a job is made: a verdict, and what to do about it.

        Args:
            model, data, grader, validation, hyperparameters, ...: as for `finetune`, of the job it would be.
            num_rows: training rows that are answered (64), with `samples_per_row` answers each (8).
            pass_threshold: reward from which an answer passes (0.5).
            wait: False returns at once; `client.fettle.preflights.wait(id)` waits later.

        Raises:
            InvalidRequest, InvalidData: as `finetune`.
            JobFailed: it ended without a report.
        """
        request = job_request(
            model=model,
            grader=grader,
            method="reinforcement",
            response_format=response_format,
            suffix=None,
            seed=seed,
            metadata=metadata,
            validation_split=validation_split,
            hyperparameters=hyperparameters,
            fields=fields,
        )
        training, held_out = _sources(data, validation, "preflight")
        body = preflight_body(
            request,
            self._file_id(training, progress),
            self._file_id(held_out, progress) if held_out else None,
            num_rows=num_rows,
            samples_per_row=samples_per_row,
            pass_threshold=pass_threshold,
        )
        made = self.post("/fettle/preflight", cast_to=Preflight, body=body, options={"headers": _idempotency()})
        return self.fettle.preflights.wait(made.id, timeout=timeout) if wait else made

    def upload(self, data: Data, *, name: str = "data", progress: uploads.Progress = None) -> FileObject:
        """Check rows offline, send them, and have the server check them.

        Raises:
            InvalidData: with the lines at fault; what the server refused stays uploaded, for you to look at.
        """
        source = source_of(data, name=name)
        if isinstance(source, FileId):
            return self.files.retrieve(source.id)
        uploads.check_upload(source)
        return self._upload(source, progress)

    def _file_id(self, source: FileId | Upload, progress: uploads.Progress) -> str:
        return source.id if isinstance(source, FileId) else self._upload(source, progress).id

    def _upload(self, source: Upload, progress: uploads.Progress) -> FileObject:
        file = self._send(source, progress)
        uploads.refuse_errors(f"{source.name} ({file.id})", self._report(file.id))
        return file

    def _send(self, source: Upload, progress: uploads.Progress) -> FileObject:
        if source.path and source.size_bytes > CHUNKED_ABOVE_BYTES:
            upload = self.uploads.upload_file_chunked(
                file=source.path, mime_type="application/octet-stream", purpose="fine-tune"
            )
            return _completed(upload.file)
        with uploads.progress_bar(source.name, progress) as on_progress, source.reader(on_progress) as stream:
            return self.files.create(file=(source.name, stream, "application/octet-stream"), purpose="fine-tune")

    def _report(self, file_id: str) -> FileReport | None:
        """The server's validation once it is through; None where the server has none."""
        report: FileReport | None = None
        for _ in range(uploads.VALIDATION_POLLS):
            try:
                report = self.fettle.files.validation(file_id)
            except NotFoundError:
                return None
            if uploads.settled(report):
                break
            time.sleep(uploads.VALIDATION_POLL_S)
        return report


class AsyncFettle(AsyncOpenAI):
    """`Fettle` for asynchronous code: an `openai.AsyncOpenAI` with the same additions, awaited."""

    def __init__(
        self,
        *,
        api_key: str | Callable[[], Awaitable[str]] | None = None,
        base_url: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**_client_options(AsyncOpenAI, api_key, base_url, options))
        _forget_other_account(self, options)

    @cached_property
    def fettle(self) -> AsyncFettleResources:
        """Resources that only Fettle has."""
        return AsyncFettleResources(self)

    @cached_property
    def graders(self) -> AsyncGraderResources:
        """Try, test and keep graders."""
        return self.fettle.graders

    async def finetune(
        self,
        *,
        model: str,
        data: Data,
        grader: Mapping[str, Any] | str | Path | None = None,
        validation: Data | None = None,
        method: Method = "reinforcement",
        response_format: Mapping[str, Any] | None = None,
        suffix: str | None = None,
        seed: int | None = None,
        metadata: Mapping[str, str] | None = None,
        validation_split: float = 0.2,
        hyperparameters: Mapping[str, Any] | None = None,
        preflight: Preflight | str | None = None,
        wait: bool = False,
        progress: uploads.Progress = None,
        **fields: Unpack[Hyperparameters],
    ) -> AsyncFineTuneJob:
        """See `Fettle.finetune`."""
        request = job_request(
            model=model,
            grader=grader,
            method=method,
            response_format=response_format,
            suffix=suffix,
            seed=seed,
            metadata=metadata,
            validation_split=validation_split,
            hyperparameters=hyperparameters,
            fields=fields,
            preflight_id=preflight_id(preflight),
        )
        training, held_out = _sources(data, validation, suffix)
        training_file = await self._file_id(training, progress)
        validation_file = await self._file_id(held_out, progress) if held_out else None
        raw = await self.post(
            "/fine_tuning/jobs",
            cast_to=FineTuningJob,
            body=request.body(training_file, validation_file),
            options={"headers": _idempotency()},
        )
        job = AsyncFineTuneJob(self, raw)
        return await job.wait() if wait else job

    async def preflight(
        self,
        *,
        model: str,
        data: Data,
        grader: Mapping[str, Any] | str | Path,
        validation: Data | None = None,
        response_format: Mapping[str, Any] | None = None,
        seed: int | None = None,
        metadata: Mapping[str, str] | None = None,
        validation_split: float = 0.2,
        hyperparameters: Mapping[str, Any] | None = None,
        num_rows: int | None = None,
        samples_per_row: int | None = None,
        pass_threshold: float | None = None,
        wait: bool = True,
        timeout: float | None = None,
        progress: uploads.Progress = None,
        **fields: Unpack[Hyperparameters],
    ) -> Preflight:
        """See `Fettle.preflight`."""
        request = job_request(
            model=model,
            grader=grader,
            method="reinforcement",
            response_format=response_format,
            suffix=None,
            seed=seed,
            metadata=metadata,
            validation_split=validation_split,
            hyperparameters=hyperparameters,
            fields=fields,
        )
        training, held_out = _sources(data, validation, "preflight")
        body = preflight_body(
            request,
            await self._file_id(training, progress),
            await self._file_id(held_out, progress) if held_out else None,
            num_rows=num_rows,
            samples_per_row=samples_per_row,
            pass_threshold=pass_threshold,
        )
        made = await self.post("/fettle/preflight", cast_to=Preflight, body=body, options={"headers": _idempotency()})
        return await self.fettle.preflights.wait(made.id, timeout=timeout) if wait else made

    async def upload(self, data: Data, *, name: str = "data", progress: uploads.Progress = None) -> FileObject:
        """See `Fettle.upload`."""
        source = source_of(data, name=name)
        if isinstance(source, FileId):
            return await self.files.retrieve(source.id)
        uploads.check_upload(source)
        return await self._upload(source, progress)

    async def _file_id(self, source: FileId | Upload, progress: uploads.Progress) -> str:
        return source.id if isinstance(source, FileId) else (await self._upload(source, progress)).id

    async def _upload(self, source: Upload, progress: uploads.Progress) -> FileObject:
        file = await self._send(source, progress)
        uploads.refuse_errors(f"{source.name} ({file.id})", await self._report(file.id))
        return file

    async def _send(self, source: Upload, progress: uploads.Progress) -> FileObject:
        if source.path and source.size_bytes > CHUNKED_ABOVE_BYTES:
            upload = await self.uploads.upload_file_chunked(
                file=source.path, mime_type="application/octet-stream", purpose="fine-tune"
            )
            return _completed(upload.file)
        with uploads.progress_bar(source.name, progress) as on_progress, source.reader(on_progress) as stream:
            return await self.files.create(file=(source.name, stream, "application/octet-stream"), purpose="fine-tune")

    async def _report(self, file_id: str) -> FileReport | None:
        report: FileReport | None = None
        for _ in range(uploads.VALIDATION_POLLS):
            try:
                report = await self.fettle.files.validation(file_id)
            except NotFoundError:
                return None
            if uploads.settled(report):
                break
            await asyncio.sleep(uploads.VALIDATION_POLL_S)
        return report


def _client_options(parent: type, api_key: Any, base_url: Any, options: dict[str, Any]) -> dict[str, Any]:
    key = api_key or env.api_key()
    if not key:
        raise MissingApiKey(
            "no API key: FETTLE_API_KEY is not set",
            fix="Export FETTLE_API_KEY or pass api_key=...; `fettle up` prints a key when it first starts.",
        )
    filled = {**options, "api_key": key, "base_url": base_url or env.base_url()}
    # Newer official clients send OPENAI_ADMIN_KEY with admin calls; a Fettle server wants its own key there.
    if "admin_api_key" in inspect.signature(parent).parameters and isinstance(key, str):
        filled["admin_api_key"] = options.get("admin_api_key") or key
    return filled


def _forget_other_account(client: OpenAI | AsyncOpenAI, options: Mapping[str, Any]) -> None:
    """OPENAI_ORG_ID and OPENAI_PROJECT_ID name things at another service: send them only when passed by hand."""
    client.organization = options.get("organization")
    client.project = options.get("project")


def _sources(data: Data, validation: Data | None, suffix: str | None) -> tuple[FileId | Upload, FileId | Upload | None]:
    """Both files, checked offline before the first byte is sent."""
    stem = suffix or "data"
    training = source_of(data, name=f"{stem}-train")
    held_out = None if validation is None else source_of(validation, name=f"{stem}-valid")
    uploads.check_upload(training)
    if held_out is not None:
        uploads.check_upload(held_out)
    return training, held_out


def _idempotency() -> dict[str, str]:
    """The official client repeats a POST after a timeout; with the same key the server starts one job, not two."""
    return {"Idempotency-Key": str(uuid.uuid4())}


def _completed(file: FileObject | None) -> FileObject:
    if file is None:
        raise RuntimeError("the server completed the upload without naming a file")
    return file
