"""Hints to browsers about jobs that changed, as server-sent events: one look at the database serves all listeners.

A stream is optional: whoever has none asks again every few seconds, and learns the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from django.db import close_old_connections, connections

from fettle_platform.jobs.hints import Change, JobWatch

log = logging.getLogger(__name__)

POLL_S = 1.0
HEARTBEAT_S = 15.0
# A stream ends after this time and is opened again: rights are looked up anew, and a server being replaced gets empty.
LIFE_S = 300.0
MAX_LISTENERS = 2000
_KEPT = 1000
_RETRY_MS = 3000

Look = Callable[[], Sequence[Change]]


class Hub:
    """The listeners of one process. It looks while there are any, and keeps the newest changes in one bounded ring.

    A listener has only a place in the ring; one that fell off its end is told to read everything anew. Frames have ids
    `<epoch>-<number>`: with the last one a listener goes on where it was, while the same epoch lasts.
    """

    def __init__(self, watch: Callable[[], Look] = JobWatch, *, poll_s: float = POLL_S) -> None:
        self._watch, self._poll_s = watch, poll_s
        self._ring: deque[Change] = deque(maxlen=_KEPT)
        self._number = 0  # of the newest change
        self._epoch = ""
        self._news = asyncio.Event()
        self._has_looked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.num_listeners = 0
        self.is_closed = False

    def close(self) -> None:
        """End all streams; called on the event loop."""
        self.is_closed = True
        self._has_looked.set()
        self._wake()

    async def frames(
        self,
        projects: Collection[int],
        *,
        last_id: str = "",
        heartbeat_s: float = HEARTBEAT_S,
        life_s: float = LIFE_S,
    ) -> AsyncIterator[bytes]:
        """What one listener gets: hints about jobs of its projects. `reset`: anything may have changed."""
        self._join()
        try:
            ends = asyncio.get_running_loop().time() + life_s
            yield f"retry: {_RETRY_MS}\n\n".encode()
            await self._has_looked.wait()  # what changes after this look is told; what came before, the reset covers
            place = self._place_of(last_id)
            while not self.is_closed and asyncio.get_running_loop().time() < ends:
                news = self._news
                if place is None or place < self._number - len(self._ring):
                    place = self._number
                    yield self._frame(place, "event: reset\ndata: {}")
                elif place < self._number:
                    fresh = list(self._ring)[place - self._number :]
                    place = self._number
                    if told := _data(fresh, projects):
                        yield self._frame(place, told)
                else:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(news.wait(), heartbeat_s)
                    if not news.is_set():
                        yield b": still here\n\n"
        finally:
            self._leave()

    def _frame(self, place: int, lines: str) -> bytes:
        return f"id: {self._epoch}-{place}\n{lines}\n\n".encode()

    def _place_of(self, last_id: str) -> int | None:
        epoch, _, number = last_id.partition("-")
        known = epoch == self._epoch and number.isascii() and number.isdigit() and len(number) < 16
        return int(number) if known and int(number) <= self._number else None

    def _join(self) -> None:
        self.num_listeners += 1
        if self._task is None:
            # Nobody looked until now, so nobody knows what was missed: older ids count no more.
            self._epoch, self._number = secrets.token_hex(4), 0
            self._ring.clear()
            self._news, self._has_looked = asyncio.Event(), asyncio.Event()
            self._task = asyncio.get_running_loop().create_task(self._look())

    def _leave(self) -> None:
        self.num_listeners -= 1
        if self.num_listeners == 0 and self._task is not None:
            self._task.cancel()
            self._task = None

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _look(self) -> None:
        """In a thread of its own, which keeps its database connection."""
        look = self._watch()
        loop = asyncio.get_running_loop()
        with _one_thread() as thread:
            while True:
                try:
                    changes = await loop.run_in_executor(thread, _fresh, look)
                    self._has_looked.set()
                except Exception:  # the database is away: the next look finds what changed meanwhile
                    log.warning("the event stream cannot look at the jobs", exc_info=True)
                    changes = []
                if changes:
                    self._ring.extend(changes)
                    self._number += len(changes)
                    self._wake()
                await asyncio.sleep(self._poll_s)


hub = Hub()


def _data(changes: Sequence[Change], projects: Collection[int]) -> str:
    """One line for each job, however often it changed."""
    latest = {change.job_id: change.status for change in changes if change.project_pk in projects}
    return "data: " + json.dumps({"jobs": latest}) if latest else ""


def _fresh(look: Look) -> Sequence[Change]:
    close_old_connections()
    return look()


@contextlib.contextmanager
def _one_thread() -> Iterator[ThreadPoolExecutor]:
    thread = ThreadPoolExecutor(1, thread_name_prefix="job-hints")
    try:
        yield thread
    finally:
        thread.submit(connections.close_all)
        thread.shutdown(wait=False)
