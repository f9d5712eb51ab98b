"""What hangs at `client.fettle`: the resources below `/v1/fettle`, in the conventions of the official client."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from openai import APIResponse, HttpxBinaryResponseContent
from openai.pagination import SyncCursorPage
from openai.types.fine_tuning import FineTuningJob

from fettle.archive import extract
from fettle.jobs import FineTuneJob
from fettle.lab_resources import GraderResources, PreflightResources
from fettle.requests import STREAM_HEADERS, job_path, path, rollout_query
from fettle.results import FileReport, Plan, Rollout, Selection, StepEvaluation, selection_of

if TYPE_CHECKING:
    from fettle.client import Fettle


class FettleResources:
    """`client.fettle`."""

    def __init__(self, client: Fettle) -> None:
        self._client = client
        self.files = FileResources(client)
        self.graders = GraderResources(client)
        self.preflights = PreflightResources(client)
        self.models = ModelResources(client)

    def job(self, job_id: str) -> FineTuneJob:
        """Take up a job by its id."""
        return FineTuneJob(self._client, self._client.fine_tuning.jobs.retrieve(job_id))

    def plan(self, job: Mapping[str, Any]) -> Plan:
        """What every `auto` of this job would become, and why; `job` is the body that would create it."""
        return self._client.post(path("plan"), cast_to=Plan, body=dict(job))

    def finish(self, job_id: str) -> FineTuningJob:
        """Make no further steps: the best candidates so far are measured and one is delivered."""
        return self._client.post(job_path(job_id, "finish"), cast_to=FineTuningJob)

    def selection(self, job_id: str) -> Selection | None:
        """Which checkpoint was delivered and why, with every candidate; None before the job has succeeded."""
        if (self.job(job_id)).best is None:
            return None
        found = self._client.get(job_path(job_id, "selection"), cast_to=object)
        return selection_of({"selection": found})

    def evaluations(self, job_id: str) -> list[StepEvaluation]:
        """How each held-out row did at each evaluated step, by ascending step."""
        pages = self._client.get_api_list(
            job_path(job_id, "evaluations"), model=StepEvaluation, page=SyncCursorPage[StepEvaluation]
        )
        return list(pages)

    def rollouts(
        self,
        job_id: str,
        *,
        step: int | None = None,
        row: int | None = None,
        purpose: str | None = None,
        limit: int = 20,
    ) -> list[Rollout]:
        """Stored completions of a job with their grades, in the order they were written, at most `limit`.

        Args:
            purpose: "train", "eval", "final" (more answers for the last candidates) or "report".
        """
        pages = self._client.get_api_list(
            job_path(job_id, "rollouts"),
            model=Rollout,
            page=SyncCursorPage[Rollout],
            options={"params": rollout_query(step=step, row=row, purpose=purpose, limit=limit)},
        )
        return list(islice(pages, limit))


class FileResources:
    """`client.fettle.files`."""

    def __init__(self, client: Fettle) -> None:
        self._client = client

    def validation(self, file_id: str) -> FileReport:
        """What the server found in a file, grouped by cause."""
        return self._client.get(path("files", file_id, "validation"), cast_to=FileReport)


class ModelResources:
    """`client.fettle.models`."""

    def __init__(self, client: Fettle) -> None:
        self._client = client

    def download(self, model: str, directory: str | Path, *, overwrite: bool = False) -> Path:
        """Write a tuned model's adapter (a plain PEFT folder) into `directory` and return it.

        Raises:
            DownloadRefused: files are in the way and `overwrite` is off, or the archive is unsafe.
        """
        target = Path(directory)
        # With this header the official client hands over the open response instead of reading it whole.
        response = cast(
            APIResponse[HttpxBinaryResponseContent],
            self._client.get(
                path("models", model, "adapter"),
                cast_to=HttpxBinaryResponseContent,
                options={"headers": STREAM_HEADERS},
            ),
        )
        try:
            with tempfile.TemporaryFile() as archive:
                for chunk in response.iter_bytes(1 << 20):
                    archive.write(chunk)
                extract(archive, target, overwrite=overwrite)
        finally:
            response.close()
        return target
