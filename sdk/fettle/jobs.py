"""A fine-tuning job in hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
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
    from fettle.client import Fettle


class FineTuneJob(JobView):
    """A job on the server. Properties read the last answer; `refresh()` asks again."""

    def __init__(self, client: Fettle, raw: FineTuningJob, *, sleep: Callable[[float], None] = time.sleep) -> None:
        super().__init__(raw)
        self._client = client
        self._sleep = sleep  # a test passes its own

    def refresh(self) -> FineTuneJob:
        self.raw = self._client.fine_tuning.jobs.retrieve(self.id)
        return self

    def pause(self) -> FineTuneJob:
        """Stop after the running step and keep a checkpoint to go on from."""
        self.raw = self._client.fine_tuning.jobs.pause(self.id)
        return self

    def finish(self) -> FineTuneJob:
        """Make no further steps and deliver the best checkpoint so far, with its measured gain."""
        self.raw = self._client.fettle.finish(self.id)
        return self

    def resume(self) -> FineTuneJob:
        self.raw = self._client.fine_tuning.jobs.resume(self.id)
        return self

    def cancel(self) -> FineTuneJob:
        """End the job; a running one stops after its current step. Checkpoints made so far stay."""
        self.raw = self._client.fine_tuning.jobs.cancel(self.id)
        return self

    def watch(
        self, *, after: str | None = None, draw: bool | None = None, poll_s: float = 2.0, timeout: float | None = None
    ) -> Iterator[FineTuningJobEvent]:
        """Yield events, oldest first, until the job ends; draw progress on standard error meanwhile.

        Lost connections are retried with growing pauses. Ctrl-C leaves the job running and says how to come back.

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
                    follow.answered(self.refresh().status)
                    events = self._events_since(follow.cursor)
                except RETRIED as error:
                    delay = follow.failed(error)
                    narrator.say(retry_line(error, delay))
                    self._sleep(follow.pause(delay, time.monotonic()))
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
                self._sleep(follow.pause(poll_s, time.monotonic()))
        except KeyboardInterrupt:
            narrator.close()
            narrator.say(detach_line(self.id))
            raise
        finally:
            narrator.close()

    def wait(self, timeout: float | None = None, *, draw: bool | None = None, poll_s: float = 2.0) -> FineTuneJob:
        """Block until the job ends.

        Raises:
            JobFailed: it failed or was cancelled.
            JobTimeout: `timeout` seconds passed first; the job goes on.
        """
        for _ in self.watch(draw=draw, poll_s=poll_s, timeout=timeout):
            pass
        self.raise_unless_succeeded()
        return self

    def why(self) -> str:
        """Which checkpoint is delivered and why, in words, with the candidates it was chosen from."""
        if self.best is None:
            return self.undecided()
        return why_text(self._client.fettle.selection(self.id) or self.best)

    def events(self, *, after: str | None = None) -> list[FineTuningJobEvent]:
        """All events, oldest first; only those later than the event `after` when it is given."""
        return self._events_since(after)

    def evaluations(self) -> list[StepEvaluation]:
        """How each held-out row did at each evaluated step, by ascending step."""
        return self._client.fettle.evaluations(self.id)

    def checkpoints(self) -> list[FineTuningJobCheckpoint]:
        """The servable checkpoints, newest first."""
        return list(self._client.fine_tuning.jobs.checkpoints.list(self.id))

    def metrics(self) -> list[dict[str, Any]]:
        """What was measured, one dictionary for each metrics event, by ascending step."""
        return metrics_rows(self._client.fine_tuning.jobs.list_events(self.id, limit=PAGE_SIZE))

    def rollouts(
        self, *, step: int | None = None, row: int | None = None, purpose: str | None = None, limit: int = 20
    ) -> list[Rollout]:
        """Stored completions with their grades, at most `limit`; `purpose` is train, eval, final or report."""
        return self._client.fettle.rollouts(self.id, step=step, row=row, purpose=purpose, limit=limit)

    def chat(self, text_or_messages: str | list[dict[str, Any]], **options: Any) -> ChatCompletion:
        """Ask the tuned model. Options are those of `client.chat.completions.create`."""
        messages: Any = chat_messages(text_or_messages)  # the official type is a union of TypedDicts
        completion: ChatCompletion = self._client.chat.completions.create(
            model=self.tuned_model(), messages=messages, **options
        )
        return completion

    def download(self, directory: str | Path, *, overwrite: bool = False) -> Path:
        """Write the adapter (a plain PEFT folder) into `directory` and return it."""
        return self._client.fettle.models.download(self.tuned_model(), directory, overwrite=overwrite)

    def _events_since(self, cursor: str | None) -> list[FineTuningJobEvent]:
        fresh: list[FineTuningJobEvent] = []
        for event in self._client.fine_tuning.jobs.list_events(self.id, limit=PAGE_SIZE):
            if event.id == cursor:
                break
            fresh.append(event)
        return fresh[::-1]
