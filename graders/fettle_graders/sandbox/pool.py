"""Warm workers, each of one grader source of one organization, replaced as soon as anything about them is odd."""

from __future__ import annotations

import atexit
import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

from fettle_graders.errors import SandboxFault
from fettle_graders.sandbox.choice import TierChoice
from fettle_graders.sandbox.failure import CodeFailure, failure_of_death, failure_of_reply
from fettle_graders.sandbox.jail.frames import CALL, LOAD, MEMORY_LIMIT, OK
from fettle_graders.sandbox.tiers import (
    TIERS,
    Limits,
    Program,
    Tier,
    TierUnavailable,
    limits_shown,
    policy_version,
    tiers_from,
)
from fettle_graders.sandbox.worker import MAX_REQUEST_BYTES, Reply, Worker, WorkerDied

REQUEST_CALL_S = 30.0  # of a call while somebody waits for the answer; a job's may take longer
_RETRIES_S = (0.05, 0.25, 1.0)
_TAKE_UP_S = 1.0  # a worker that is well reads a call as soon as it comes, also on a busy machine
_IDLE_CPU_S = 0.03  # more than this while no call is outstanding is a thread that was left running
_FULL_SHARE = 0.75


@dataclass
class _Kept:
    """A worker with a loaded source. `num_threads` is what it had then; `cpu_s` what it had used when it went idle."""

    key: str
    worker: Worker
    num_threads: int
    cpu_s: float = 0.0
    idle_since: float = 0.0  # monotonic


class Sandbox:
    """Up to `size` workers at once, and a ready spare. Safe to use from many threads; one per process is enough.

    Args:
        tiers: which to try, best first. There is no fallback below them: without a tier nothing runs.
        limits: of every worker.
        share: how many of them one organization may use at once; all, where there is but one.
        start: makes a worker; a test passes one of its own.
    """

    def __init__(
        self,
        *,
        size: int = 1,
        tiers: Sequence[Tier] = TIERS,
        limits: Limits | None = None,
        share: int | None = None,
        start: Any = Worker,
    ) -> None:
        self.size = size
        self.limits = limits or Limits()
        self._choice = TierChoice(tiers, self.limits, start)
        self._start = start
        # Jails end with the thread that started them, so one thread starts them all and lives as long as the pool.
        self._spawner = ThreadPoolExecutor(1, "sandbox")
        self._share = share or size
        self._users: Counter[str] = Counter()  # organization -> workers it uses now
        self._freed = threading.Condition()
        self._lock = threading.Lock()
        self._idle: list[_Kept] = []  # the longest idle first
        self._busy: set[Worker] = set()
        self._spares: dict[Program, Future[Worker]] = {}
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def require(self) -> Tier:
        """The tier that runs here; tests it first when the last test is older than ten minutes.

        Raises:
            SandboxFault: `sandbox_unavailable`, with the reason for each tier.
        """
        if self._choice.is_due():
            self._in_spawner(self._choice.check).result()
            if self._choice.tier is None:
                self._clear()
        return self._choice.require()

    def status(self) -> dict[str, Any]:
        """What runs here and why, as a JSON object. Tests the tiers when nothing has been tested yet."""
        with suppress(SandboxFault):
            self.require()
        return self._choice.status() | {"limits": limits_shown(self.limits)}

    def stamp(self) -> dict[str, Any]:
        """What each grade records about where it was made."""
        return {"tier": self._choice.tier, "policy_version": policy_version()}

    def check_source(self, organization: str, source: str) -> None:
        """Load a grader without calling it.

        Raises:
            CodeFailure: it does not load.
            SandboxFault: nobody's fault but ours.
        """
        with self._slot(organization):
            self._put_back(self._loaded(_key(organization, source), source))

    def grade(self, organization: str, source: str, body: bytes, *, with_output: bool = False) -> Reply:
        """Call `grade` of a source once.

        Args:
            organization: whose grader it is; no worker is ever used for two organizations.
            body: `[sample, item]` as JSON.

        Returns:
            A reply with a finite score.

        Raises:
            CodeFailure: the grader failed.
            SandboxFault: nobody's fault but ours.
        """
        if len(body) > MAX_REQUEST_BYTES:
            raise CodeFailure(
                "exception", f"row and completion have {len(body)} bytes; a grader takes at most {MAX_REQUEST_BYTES}"
            )
        with self._slot(organization):
            reply = self._call(_key(organization, source), source, body, with_output)
        if reply.outcome != OK:
            raise failure_of_reply(reply)
        return reply

    @contextmanager
    def fork_server(self, organization: str) -> Iterator[Worker]:
        """A worker that runs programs, each in a process of its own. Whoever has it may kill it.

        Raises:
            SandboxFault: nobody's fault but ours.
        """
        key = f"{organization}/programs"
        with self._slot(organization):
            kept = self._warm(key)
            if kept is None:
                kept = _Kept(key, self._fresh("fork_server"), num_threads=1)
                self._refill("fork_server")
            try:
                yield kept.worker
            except BaseException:
                self._drop(kept.worker)
                raise
            self._put_back(kept)

    def close(self) -> None:
        """End every worker, also busy ones: their callers get a `CodeFailure`. Calling it again is fine."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            busy = list(self._busy)
        for worker in busy:
            worker.interrupt()
        self._clear()
        self._spawner.shutdown()

    @contextmanager
    def _slot(self, organization: str) -> Iterator[None]:
        """Wait for a place, among all and among this organization's: whose code hangs waits for itself, not others."""

        self.require()

        def is_free() -> bool:
            return self._users.total() < self.size and self._users[organization] < self._share

        with self._freed:
            self._freed.wait_for(is_free)
            self._users[organization] += 1
        try:
            yield
        finally:
            with self._freed:
                self._users -= Counter({organization: 1})
                self._freed.notify_all()

    def _call(self, key: str, source: str, body: bytes, with_output: bool) -> Reply:
        for is_last in (False, True):
            kept = self._loaded(key, source)
            is_fresh = kept.worker.num_calls <= 1  # loading was one
            try:
                reply = kept.worker.call(
                    CALL,
                    body,
                    timeout_s=self.limits.call_s,
                    with_output=with_output,
                    take_up_s=None if is_fresh else _TAKE_UP_S,
                )
            except WorkerDied as died:
                self._drop(kept.worker)
                # What an earlier call left behind may be to blame: the same again, on a worker that has no past.
                if is_last or is_fresh or died.code == "timeout":
                    raise failure_of_death(died, self.limits.call_s) from None
                continue
            except BaseException:
                self._drop(kept.worker)
                raise
            if reply.outcome == MEMORY_LIMIT and not is_fresh and not is_last:  # earlier calls may hold it
                self._drop(kept.worker)
                continue
            self._put_back(kept)
            return reply
        raise AssertionError

    def _loaded(self, key: str, source: str) -> _Kept:
        """A worker that holds the source, counted as busy."""
        kept = self._warm(key)
        if kept is not None:
            return kept
        worker = self._fresh("runner")
        try:
            reply = worker.call(LOAD, source.encode("utf-8", "replace"), timeout_s=self.limits.load_s)
            if reply.outcome != OK:
                raise CodeFailure("load_error", f"the grader does not load: {reply.text}")
            return _Kept(key, worker, num_threads=worker.usage()[0])
        except WorkerDied as died:
            self._drop(worker)
            failure = failure_of_death(died, self.limits.load_s)
            raise CodeFailure("load_error", f"the grader does not load: {failure.message}") from None
        except OSError:
            self._drop(worker)
            raise CodeFailure("load_error", "the grader does not load: its process ended behind the load") from None
        except BaseException:
            self._drop(worker)
            raise
        finally:
            self._refill("runner")  # not before: its start would take the processor from the load

    def _warm(self, key: str) -> _Kept | None:
        """An idle worker of the key that is still as it was left."""
        while (kept := self._take_idle(key)) is not None:
            if time.monotonic() - kept.idle_since < _IDLE_CPU_S:  # too short to have used more than is allowed
                return kept
            try:
                _, _, cpu_s = kept.worker.usage()
            except OSError:
                cpu_s = float("inf")
            if kept.worker.is_alive() and cpu_s - kept.cpu_s <= _IDLE_CPU_S:
                return kept
            self._drop(kept.worker)
        return None

    def _take_idle(self, key: str) -> _Kept | None:
        with self._lock:
            for position in range(len(self._idle) - 1, -1, -1):
                if self._idle[position].key == key:
                    kept = self._idle.pop(position)
                    self._busy.add(kept.worker)
                    return kept
        return None

    def _put_back(self, kept: _Kept) -> None:
        """Keep a worker for its next call, unless something about it is odd."""
        worker, limits = kept.worker, self.limits
        try:
            num_threads, memory_bytes, kept.cpu_s = worker.usage()
        except OSError:  # it has ended
            num_threads = memory_bytes = 1 << 62
        is_odd = (
            not worker.is_alive() or num_threads > kept.num_threads or memory_bytes > _FULL_SHARE * limits.memory_bytes
        )
        evicted: list[_Kept] = []
        with self._lock:
            is_kept = not (is_odd or worker.num_calls >= limits.max_calls or self._is_closed)
            is_kept = is_kept and self._choice.tier is not None
            if is_kept:
                self._busy.discard(worker)
                self._idle.append(kept)
                evicted, self._idle = self._idle[: -self.size], self._idle[-self.size :]
        for old in evicted:
            self._bury(old.worker)
        if not is_kept:
            self._drop(worker)

    def _drop(self, worker: Worker) -> None:
        worker.kill()
        with self._lock:
            self._busy.discard(worker)

    def _fresh(self, program: Program) -> Worker:
        """The spare, or a new worker; counted as busy. Then `_refill`."""
        tier = self.require()
        reason: Exception | None = None
        for delay_s in (0.0, *_RETRIES_S):
            time.sleep(delay_s)
            try:
                worker = self._take_spare(program, tier)
            except (TierUnavailable, OSError) as error:
                reason = error
                continue
            if worker.is_alive():
                with self._lock:
                    self._busy.add(worker)
                return worker
            worker.kill()
            reason = TierUnavailable("a spare worker ended by itself")
        raise SandboxFault(
            "sandbox_failure", f"no sandbox worker starts, after {len(_RETRIES_S) + 1} tries: {reason}"
        ) from reason

    def _take_spare(self, program: Program, tier: Tier) -> Worker:
        with self._lock:
            if self._is_closed:
                raise SandboxFault("sandbox_failure", "the sandbox is closed")
            spare = self._spares.pop(program, None) or self._submit(program, tier)
        return spare.result()

    def _refill(self, program: Program) -> None:
        """Start the next spare, where there is none and still a tier to start it in."""
        with self._lock:
            if not self._is_closed and self._choice.tier is not None and program not in self._spares:
                self._spares[program] = self._submit(program, self._choice.tier)

    def _bury(self, worker: Worker) -> None:
        """End it, without waiting for that."""
        with self._lock:
            if not self._is_closed:
                self._spawner.submit(worker.kill)
                return
        worker.kill()

    def _submit(self, program: Program, tier: Tier) -> Future[Worker]:
        return self._spawner.submit(self._start, tier, program, self.limits)

    def _in_spawner(self, action: Callable[[], None]) -> Future[None]:
        with self._lock:
            if self._is_closed:
                raise SandboxFault("sandbox_failure", "the sandbox is closed")
            return self._spawner.submit(action)

    def _clear(self) -> None:
        """End what was started in a tier that is not trusted any more. Busy workers end with their calls."""
        with self._lock:
            idle, spares = self._idle, list(self._spares.values())
            self._idle, self._spares = [], {}
        for kept in idle:
            kept.worker.kill()
        for spare in spares:
            with suppress(Exception):  # it never came to life
                spare.result().kill()


def shared_sandbox(min_tier: Tier = "lockdown") -> Sandbox:
    """This process's own, for requests that somebody waits for. It lives as long as the process.

    Args:
        min_tier: the weakest tier that may be used.
    """
    return _shared_sandbox(os.getpid(), min_tier)


@lru_cache(maxsize=2)
def _shared_sandbox(_pid: int, min_tier: Tier) -> Sandbox:  # a forked process must not write into its parent's pipes
    sandbox = Sandbox(size=4, share=2, tiers=tiers_from(min_tier), limits=Limits(call_s=REQUEST_CALL_S))
    atexit.register(sandbox.close)
    return sandbox


def _key(organization: str, source: str) -> str:
    return f"{organization}/{hashlib.sha256(source.encode('utf-8', 'surrogatepass')).hexdigest()}"
