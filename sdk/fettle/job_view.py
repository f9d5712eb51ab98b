"""What a job object knows without asking the server: the last answer, read. Shared by the sync and the async job."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent

from fettle.errors import FettleError, JobFailed
from fettle.progress import STATUS_WORDS, TERMINAL
from fettle.results import Selection, selection_of, verdict_text


class JobView:
    """A fine-tuning job as of the last answer. `raw` is the official object with everything the server sent."""

    def __init__(self, raw: FineTuningJob) -> None:
        self.raw = raw

    @property
    def id(self) -> str:
        return self.raw.id

    @property
    def status(self) -> str:
        return self.raw.status

    @property
    def done(self) -> bool:
        return self.status in TERMINAL

    @property
    def model(self) -> str:
        """The model the job starts from."""
        return self.raw.model

    @property
    def fine_tuned_model(self) -> str | None:
        """The name to call, once the job succeeded."""
        return self.raw.fine_tuned_model

    @property
    def fettle(self) -> dict[str, Any]:
        """The server's `fettle` object: plan, progress, selection. Empty on other servers."""
        found = (self.raw.model_extra or {}).get("fettle")
        return found if isinstance(found, dict) else {}

    @property
    def error(self) -> str | None:
        """Why the job failed, as `code: message`."""
        error = self.raw.error
        if error is None or not getattr(error, "message", None):
            return None
        return f"{error.code}: {error.message}"

    @property
    def best(self) -> Selection | None:
        """The chosen checkpoint against the base, with the interval of the gain; None before the end."""
        return selection_of(self.fettle)

    @property
    def phase(self) -> str:
        """What the job is doing now, in words."""
        found = self.fettle.get("phase")
        return found if isinstance(found, str) else STATUS_WORDS.get(self.status, self.status)

    def undecided(self) -> str:
        """What `why` says while there is no selection."""
        if self.error is not None:
            return f"Nothing was delivered. {self.error}"
        return "Nothing was delivered." if self.done else f"Not decided yet. {self.phase}"

    def __repr__(self) -> str:
        model = f" {self.fine_tuned_model}" if self.fine_tuned_model else ""
        return f"<{type(self).__name__} {self.id} {self.status}{model}>"

    def ending(self) -> str | None:
        """The last line a watcher wants to read."""
        if self.best is not None:
            return verdict_text(self.best)
        return f"error: {self.error}" if self.error else None

    def raise_unless_succeeded(self) -> None:
        """Raise `JobFailed` for a job that ended without a model."""
        if self.status in ("failed", "cancelled"):
            reason = f": {self.error}" if self.error else ""
            code = self.raw.error.code if self.error and self.raw.error else None
            raise JobFailed(f"{self.id} {self.status}{reason}", job_id=self.id, status=self.status, code=code)

    def tuned_model(self) -> str:
        """The name to chat with.

        Raises:
            FettleError: the job has no model, or not yet.
        """
        if self.fine_tuned_model is None:
            raise FettleError(f"{self.id} has no model: it is {self.status}", fix="Wait for it with job.wait().")
        return self.fine_tuned_model


def metrics_rows(events: Iterable[FineTuningJobEvent]) -> list[dict[str, Any]]:
    """The `data` of the metrics events, oldest first. `events` come newest first, as the wire lists them."""
    rows = [event.data for event in events if event.type == "metrics" and isinstance(event.data, dict)]
    return rows[::-1]
