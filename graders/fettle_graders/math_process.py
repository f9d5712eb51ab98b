"""Compares mathematical answers in child processes that are warm, bounded, and end with their parent.

Never in this process: sympy can run without end, and math-verify's own time limit is a signal, which works only in a
main thread.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

from fettle_graders.errors import GradeFailure, GraderError

MAX_ANSWER_CHARS = 20_000
_START_S = 120.0
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "SYSTEMROOT")


class MathPool:
    """Up to `size` child processes, each started when first needed. Safe to use from many threads.

    Args:
        size: how many answers are compared at once; further callers wait.
        cpu_s: processor time of one comparison; a busy machine does not shorten it.
        wall_s: time of one comparison by the clock.
    """

    def __init__(self, *, size: int = 1, cpu_s: float = 5.0, wall_s: float = 30.0) -> None:
        self._cpu_s = cpu_s
        self._wall_s = wall_s
        self._idle: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(size):
            self._idle.put(None)
        self._children: set[_Child] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def score(self, text: str, reference: str) -> float:
        """1.0 when both texts have the same answer, else 0.0. Of a long text the last 20 000 characters are read.

        Raises:
            GradeFailure: `unresponsive_reward_error` when the time is up, `other_error` when the reference holds no
                answer or the child died.
            GraderError: the pool is closed, or no child can be started.
        """
        request = {"text": text[-MAX_ANSWER_CHARS:], "reference": reference[-MAX_ANSWER_CHARS:]}
        child = self._idle.get()
        try:
            if child is None:
                child = self._start()
            answer = child.ask(request, self._wall_s)
        except BaseException:
            if child is not None:
                self._drop(child)
            child = None
            raise
        finally:
            self._idle.put(child)
        if "failure" in answer:
            raise GradeFailure("other_error", str(answer["failure"]))
        return float(bool(answer["equal"]))

    def close(self) -> None:
        """End every child, also busy ones: their callers get a `GradeFailure`. Calling it again is fine."""
        with self._lock:
            self._is_closed = True
            children = list(self._children)
        for started in children:
            started.kill()
        # Whoever holds a busy child closes its pipes: closing them here would pull them from under a read.
        for _ in range(self._idle.qsize()):
            child = self._idle.get()
            if child is not None:
                self._drop(child)
            self._idle.put(None)

    def _start(self) -> _Child:
        with self._lock:
            if self._is_closed:
                raise GraderError("the pool of math processes is closed")
            child = _Child(self._cpu_s)
            self._children.add(child)
            return child

    def _drop(self, child: _Child) -> None:
        with self._lock:
            self._children.discard(child)
        child.end()


def shared_math_score(text: str, reference: str) -> float:
    """`MathPool.score` on this process's own pool of one child, which lives as long as the process."""
    return _shared_pool(os.getpid()).score(text, reference)


@lru_cache(maxsize=1)
def _shared_pool(_pid: int) -> MathPool:  # a forked process must not write into its parent's pipes
    pool = MathPool()
    atexit.register(pool.close)
    return pool


class _Child:
    def __init__(self, cpu_s: float) -> None:
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        self._process = subprocess.Popen(
            # -P: whatever lies in the working folder is not imported.
            [sys.executable, "-P", "-m", "fettle_graders.math_worker", str(cpu_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        self._cpu_s = cpu_s
        self._is_ready = False
        self._rest = b""

    def ask(self, request: dict[str, str], wall_s: float) -> dict[str, Any]:  # JSON objects
        if not self._is_ready:
            self._receive(_START_S, doing="starting")
            self._is_ready = True
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
        except OSError as error:
            raise GradeFailure("other_error", f"the math process has died: {error}") from error
        return self._receive(wall_s, doing="comparing the answers")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # a request that it never read
                    pipe.close()

    def _receive(self, limit_s: float, *, doing: str) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        deadline = time.monotonic() + limit_s
        while b"\n" not in self._rest:
            readable, _, _ = select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                raise GradeFailure("unresponsive_reward_error", f"{doing} took longer than {limit_s:g} s")
            chunk = os.read(stdout.fileno(), 65536)
            if not chunk:
                raise self._death(doing)
            self._rest += chunk
        line, self._rest = self._rest.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _death(self, doing: str) -> GradeFailure:
        code = self._process.wait()
        if code == -signal.SIGPROF:
            return GradeFailure("unresponsive_reward_error", f"{doing} took more than {self._cpu_s:g} s of CPU time")
        return GradeFailure("other_error", f"the math process died while {doing}, exit status {code}")
