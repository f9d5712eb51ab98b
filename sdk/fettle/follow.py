"""How to follow a job over an unreliable line: which events are new, when to ask again, when to stop.

Pure state, driven by the sync and the async `watch`. The wire lists events newest first and knows no "after this
one", so a follower reads from the newest back to the last it has seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import openai

from fettle.errors import JobTimeout
from fettle.progress import TERMINAL

FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 30.0
GIVE_UP_AFTER_S = 3600.0
PAGE_SIZE = 100

RETRIED = (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError)


@dataclass
class Follow:
    """Where a watcher stands. `cursor` is the id of the last event seen; pass it again to resume.

    `deadline_s` is on the clock that `pause` is given.
    """

    cursor: str | None = None
    deadline_s: float | None = None
    done: bool = False
    failures: int = 0
    silent_s: float = 0.0

    def answered(self, status: str) -> None:
        """The server answered: forget earlier failures. A finished job has no more events after this poll."""
        self.failures, self.silent_s = 0, 0.0
        self.done = status in TERMINAL

    def failed(self, error: openai.APIError) -> float:
        """Seconds to wait before asking again.

        Raises:
            openai.APIError: the same error, once the line was dead for an hour.
        """
        delay = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0**self.failures)
        self.failures += 1
        self.silent_s += delay
        if self.silent_s > GIVE_UP_AFTER_S:
            raise error
        return delay

    def pause(self, delay_s: float, now_s: float) -> float:
        """Seconds to sleep before asking again: `delay_s`, or less when the time limit comes sooner.

        Raises:
            JobTimeout: the limit has passed.
        """
        if self.deadline_s is None:
            return delay_s
        if now_s >= self.deadline_s:
            raise JobTimeout("the job has not ended in the time given", fix="It goes on; wait again or watch it.")
        return min(delay_s, self.deadline_s - now_s)


def retry_line(error: openai.APIError, delay_s: float) -> str:
    return f"no answer from the server ({error.message.rstrip('.')}); trying again in {delay_s:.0f} s"


def detach_line(job_id: str) -> str:
    return f"Detached. The job goes on; watch it again with: fettle jobs watch {job_id}"


def deadline(timeout_s: float | None, now_s: float) -> float | None:
    return None if timeout_s is None else now_s + timeout_s
