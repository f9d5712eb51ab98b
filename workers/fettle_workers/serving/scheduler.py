"""The one thread that decodes. Requests hand it rows and get deltas back; requests of one model share a batch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Set
from dataclasses import dataclass, field

from fettle_workers.engine.model import Policy
from fettle_workers.engine.sampler import Decoder, Row, Step
from fettle_workers.serving.choice import Choice, Delta
from fettle_workers.serving.edits import LogitsEdits
from fettle_workers.serving.errors import Overloaded

NUM_SLOTS = 64  # completions that run at once, over all models
MAX_WAITING = 512  # completions that wait for a slot


@dataclass(eq=False)
class Part:
    """One completion of a request: its row in the batch, the answer it becomes, its edits of the logits."""

    index: int
    row: Row
    choice: Choice
    edits: LogitsEdits | None = None


@dataclass(eq=False)
class Job:
    """A request in the scheduler.

    `on_deltas` and `on_error` are called in the decoding thread and must return at once. After an error, or after
    `Scheduler.cancel`, no more calls come.
    """

    policy: Policy
    parts: list[Part]
    on_deltas: Callable[[list[tuple[int, Delta]]], None]
    on_error: Callable[[Exception], None]


@dataclass
class _Running:
    """The decoder of one policy, and to whom its rows belong."""

    decoder: Decoder
    owners: dict[Row, tuple[Job, Part]] = field(default_factory=dict)


class Scheduler:
    """Start it once; `submit` and `cancel` may be called from any thread. Without work the thread sleeps."""

    def __init__(self, *, num_slots: int = NUM_SLOTS, max_waiting: int = MAX_WAITING) -> None:
        self._num_slots, self._max_waiting = num_slots, max_waiting
        self._change = threading.Condition()
        self._waiting: deque[tuple[Job, Part]] = deque()
        self._cancelled: set[Job] = set()
        self._stopping = False
        self._running: dict[int, _Running] = {}  # by id of the policy; touched by the decoding thread only
        self._num_running = 0
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the step it is in; unfinished requests hear nothing more."""
        with self._change:
            self._stopping = True
            self._change.notify()
        self._thread.join()

    @property
    def load(self) -> dict[str, int]:
        return {"running": self._num_running, "waiting": len(self._waiting)}

    def submit(self, job: Job) -> None:
        """Queue all completions of a request. Raises Overloaded when they do not fit."""
        with self._change:
            if self._waiting and len(self._waiting) + len(job.parts) > self._max_waiting:
                raise Overloaded(f"{len(self._waiting)} completions are already waiting; try again in a moment")
            self._waiting.extend((job, part) for part in job.parts)
            self._change.notify()

    def cancel(self, job: Job) -> None:
        """Drop what the request still waits for or runs; a finished request is ignored."""
        with self._change:
            self._cancelled.add(job)
            self._change.notify()

    def _run(self) -> None:
        while True:
            with self._change:
                while not (self._stopping or self._waiting or self._cancelled or self._running):
                    self._change.wait()
                if self._stopping:
                    return
                cancelled, self._cancelled = self._cancelled, set()
                self._waiting = deque(entry for entry in self._waiting if entry[0] not in cancelled)
                admitted = [self._waiting.popleft() for _ in range(self._room(len(self._waiting)))]
                self._num_running += len(admitted)
            self._drop(cancelled)
            self._admit([entry for entry in admitted if entry[0] not in cancelled])
            for key in list(self._running):
                self._advance(key)
            self._num_running = sum(len(running.owners) for running in self._running.values())

    def _room(self, num_wanted: int) -> int:
        used = sum(len(running.owners) for running in self._running.values())
        return max(0, min(num_wanted, self._num_slots - used))

    def _drop(self, jobs: set[Job]) -> None:
        for key, running in list(self._running.items()):
            rows = [row for row, (job, _) in running.owners.items() if job in jobs]
            self._release(key, rows)

    def _release(self, key: int, rows: list[Row]) -> None:
        """Take rows out of the batch; the decoder goes with its last row."""
        running = self._running[key]
        running.decoder.drop(rows)
        for row in rows:
            running.owners.pop(row, None)
        if not running.owners:
            del self._running[key]

    def _admit(self, entries: list[tuple[Job, Part]]) -> None:
        by_policy: dict[int, list[tuple[Job, Part]]] = {}
        for job, part in entries:
            by_policy.setdefault(id(job.policy), []).append((job, part))
        for key, group in by_policy.items():
            try:
                running = self._running.get(key) or _Running(Decoder(group[0][0].policy))
                running.decoder.admit([part.row for _, part in group])
            except Exception as error:  # whatever the model raises belongs to its requests, not to the server
                self._fail(key, error, also={job for job, _ in group})
            else:
                running.owners |= {part.row: (job, part) for job, part in group}
                self._running[key] = running

    def _advance(self, key: int) -> None:
        running = self._running[key]
        try:
            deltas = _deltas(running, running.decoder.step())
        except Exception as error:  # as above
            self._fail(key, error)
            return
        for job, found in deltas.items():
            if found:
                job.on_deltas(found)
        finished = [row for row, (_, part) in running.owners.items() if part.choice.finish_reason is not None]
        if finished:
            self._release(key, finished)

    def _fail(self, key: int, error: Exception, *, also: Set[Job] = frozenset()) -> None:
        """End every request of a model, those in its batch and those given."""
        running = self._running.pop(key, None)
        failed = also | {job for job, _ in running.owners.values()} if running else also
        with self._change:
            self._cancelled |= failed
        for job in failed:
            job.on_error(error)


def _deltas(running: _Running, step: Step) -> dict[Job, list[tuple[int, Delta]]]:
    """Give every drawn token to its choice; what each request may show now."""
    found: dict[Job, list[tuple[int, Delta]]] = {}
    for number, (row, token) in enumerate(zip(step.rows, step.ids, strict=True)):
        job, part = running.owners[row]
        if part.edits is not None:
            part.edits.observe(token)
        delta = part.choice.push(token, step.finish_reasons[number], step.logits_BV[number])
        if delta:
            found.setdefault(job, []).append((part.index, delta))
    return found
