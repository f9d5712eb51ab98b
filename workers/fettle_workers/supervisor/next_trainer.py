"""The trainer of the job that comes next, started before that job is there: its libraries take seconds to load."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import fettle_graders
from fettle_workers.supervisor.trainer import Trainer

log = logging.getLogger(__name__)

_WORKERS = Path(__file__).parents[1]
_SOURCES = (_WORKERS, Path(fettle_graders.__path__[0]))


class NextTrainer:
    """At most one trainer that waits, with no job, no credential and no work folder yet.

    A worker has one while it has no job: `prepare` when it starts and after each job, `take` for a job, `close` at
    its end. It costs the memory of the libraries, less than the trainer that a job needs anyway.

    Args:
        command: starts a trainer that reads its job from standard input.
        folder: where its log lies until it has a work folder, on the same file system.
        sources: packages that it runs; one that was changed while a trainer waited makes that trainer useless.
    """

    def __init__(
        self, command: Sequence[str], *, threads: int, folder: Path, sources: Sequence[Path] = _SOURCES
    ) -> None:
        self._command, self._threads, self._folder, self._sources = command, threads, folder, sources
        self._lock = threading.Lock()
        self._waiting: tuple[Trainer, int] | None = None
        self._closed = False

    def prepare(self) -> None:
        """Start a trainer unless one waits. Failing at this is no harm: the next job starts its own, and says why."""
        with self._lock:
            if self._waiting is None and not self._closed:
                try:
                    self._waiting = self._start(), self._newest_source()
                except OSError as error:
                    log.warning("no trainer could be started in advance: %s", error)

    def take(self) -> Trainer:
        """The trainer that waits, or a new one if there is none, or it died, or the code is newer than it.

        Raises:
            OSError: no process or no log could be made.
        """
        with self._lock:
            waiting, self._waiting = self._waiting, None
        if waiting is not None:
            trainer, source = waiting
            if trainer.is_alive and source == self._newest_source():
                return trainer
            _end(trainer)
        return self._start()

    def close(self) -> None:
        """End the one that waits, and start no other."""
        with self._lock:
            waiting, self._waiting, self._closed = self._waiting, None, True
        if waiting is not None:
            _end(waiting[0])

    def _start(self) -> Trainer:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, log = tempfile.mkstemp(prefix="next-trainer-", suffix=".log", dir=self._folder)
        os.close(handle)
        return Trainer(self._command, threads=self._threads, log=Path(log))

    def _newest_source(self) -> int:
        """When the newest source file was changed, in nanoseconds."""
        return max(path.stat().st_mtime_ns for folder in self._sources for path in folder.rglob("*.py"))


def _end(trainer: Trainer) -> None:
    trainer.kill()
    trainer.wait()
    trainer.log.unlink(missing_ok=True)
