"""The asynchronous twin of `jobs`: the same steps over the same pure functions, awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openai.types.chat import ChatCompletion
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from fettle.display import Narrator, display_for
from fettle.follow import PAGE_SIZE, RETRIED, Follow, deadline, detach_line, retry_line
from fettle.job_view import JobView, metrics_rows
from fettle.requests import chat_messages
from fettle.results import Rollout, StepEvaluation, why_text

if TYPE_CHECKING:
    from fettle.client import AsyncFettle


class AsyncFineTuneJob(JobView):
    """`FineTuneJob` for asynchronous code."""

    def __init__(
        self, client: AsyncFettle, raw: FineTuningJob, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        super().__init__(raw)
        self._client = client
        self._sleep = sleep  # a test passes its own

    async def refresh(self) -> AsyncFineTuneJob:
        self.raw = await self._client.fine_tuning.jobs.retrieve(self.id)
        return self

    async def pause(self) -> AsyncFineTuneJob:
        """Stop after the running step and keep a checkpoint to go on from."""
        self.raw = await self._client.fine_tuning.jobs.pause(self.id)
        return self

    async def finish(self) -> AsyncFineTuneJob:
        """Make no further steps and deliver the best checkpoint so far, with its measured gain."""
        self.raw = await self._client.fettle.finish(self.id)
        return self

    async def resume(self) -> AsyncFineTuneJob:
        self.raw = await self._client.fine_tuning.jobs.resume(self.id)
        return self

    async def cancel(self) -> AsyncFineTuneJob:
        """End the job; a running one stops after its current step. Checkpoints made so far stay."""
        self.raw = await self._client.fine_tuning.jobs.cancel(self.id)
        return self

    async def watch(
        self, *, after: str | None = None, draw: bool | None = None, poll_s: float = 2.0, timeout: float | None = None
    ) -> AsyncIterator[FineTuningJobEvent]:
        """Yield events, oldest first, until the job ends; draw progress on standard error meanwhile.

        Lost connections are retried with growing pauses. Cancelling the task leaves the job running and says how
        to come back.

        Args:
            after: id of the last event seen before; only later ones are yielded.
            draw: True or None draws a live panel in a terminal and plain lines elsewhere; False draws nothing.
            timeout: seconds after which `JobTimeout` is raised.
        """
        follow = Follow(cursor=after, deadline_s=deadline(timeout, time.monotonic()))
        narrator = Narrator(self.id, display_for(draw))
        try:
            while True:
                try:
                    follow.answered((await self.refresh()).status)
                    events = await self._events_since(follow.cursor)
                except RETRIED as error:
                    delay = follow.failed(error)
                    narrator.say(retry_line(error, delay))
                    await self._sleep(follow.pause(delay, time.monotonic()))
                    continue
                if not follow.done:
                    narrator.status(self)
                for event in events:
                    follow.cursor = event.id
                    narrator.event(event)
                    yield event
                if follow.done:
                    narrator.status(self)
                    return
                await self._sleep(follow.pause(poll_s, time.monotonic()))
        except asyncio.CancelledError:
            narrator.close()
            narrator.say(detach_line(self.id))
            raise
        finally:
            narrator.close()

    async def wait(
        self, timeout: float | None = None, *, draw: bool | None = None, poll_s: float = 2.0
    ) -> AsyncFineTuneJob:
        """Block until the job ends.

        Raises:
            JobFailed: it failed or was cancelled.
            JobTimeout: `timeout` seconds passed first; the job goes on.
        """
        async for _ in self.watch(draw=draw, poll_s=poll_s, timeout=timeout):
            pass
        self.raise_unless_succeeded()
        return self

    async def why(self) -> str:
        """Which checkpoint is delivered and why, in words, with the candidates it was chosen from."""
        if self.best is None:
            return self.undecided()
        return why_text(await self._client.fettle.selection(self.id) or self.best)

    async def events(self, *, after: str | None = None) -> list[FineTuningJobEvent]:
        """All events, oldest first; only those later than the event `after` when it is given."""
        return await self._events_since(after)

    async def evaluations(self) -> list[StepEvaluation]:
        """How each held-out row did at each evaluated step, by ascending step."""
        return await self._client.fettle.evaluations(self.id)

    async def checkpoints(self) -> list[FineTuningJobCheckpoint]:
        """The servable checkpoints, newest first."""
        return [checkpoint async for checkpoint in self._client.fine_tuning.jobs.checkpoints.list(self.id)]

    async def metrics(self) -> list[dict[str, Any]]:
        """What was measured, one dictionary for each metrics event, by ascending step."""
        return metrics_rows(
            [event async for event in self._client.fine_tuning.jobs.list_events(self.id, limit=PAGE_SIZE)]
        )

    async def rollouts(
        self, *, step: int | None = None, row: int | None = None, purpose: str | None = None, limit: int = 20
    ) -> list[Rollout]:
        """Stored completions with their grades, at most `limit`; `purpose` is train, eval, final or report."""
        return await self._client.fettle.rollouts(self.id, step=step, row=row, purpose=purpose, limit=limit)

    async def chat(self, text_or_messages: str | list[dict[str, Any]], **options: Any) -> ChatCompletion:
        """Ask the tuned model. Options are those of `client.chat.completions.create`."""
        messages: Any = chat_messages(text_or_messages)  # the official type is a union of TypedDicts
        completion: ChatCompletion = await self._client.chat.completions.create(
            model=self.tuned_model(), messages=messages, **options
        )
        return completion

    async def download(self, directory: str | Path, *, overwrite: bool = False) -> Path:
        """Write the adapter (a plain PEFT folder) into `directory` and return it."""
        return await self._client.fettle.models.download(self.tuned_model(), directory, overwrite=overwrite)

    async def _events_since(self, cursor: str | None) -> list[FineTuningJobEvent]:
        fresh: list[FineTuningJobEvent] = []
        async for event in self._client.fine_tuning.jobs.list_events(self.id, limit=PAGE_SIZE):
            if event.id == cursor:
                break
            fresh.append(event)
        return fresh[::-1]
