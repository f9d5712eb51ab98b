"""One jailed process and the host's two pipes to it. Not for use from two threads at once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import secrets
import select
import signal
import struct
import subprocess
import termios
import time
from dataclasses import dataclass
from typing import IO

from fettle_graders.sandbox.jail.frames import (
    MAX_OUTPUT_BYTES,
    MAX_TEXT_BYTES,
    MAX_VALUE_BYTES,
    READY,
    REPLY,
    REQUEST,
    VALUE,
)
from fettle_graders.sandbox.tiers import Limits, Program, Tier, TierUnavailable, jail_config, python_command

MAX_REQUEST_BYTES = 8 * 1024**2
_START_S = 30.0
_START_BYTES = 8192
_STALLED = "it is still at what an earlier call left behind and reads no more"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class WorkerDied(Exception):
    """The jail is gone, and the call with it. `code` is one of the closed list of outcomes."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Reply:
    """What the jail said about one call; its text is untrusted, cut and free of control characters."""

    outcome: int
    score: float
    text: str
    output: str


class Worker:
    """A jail that has reported ready.

    Start it from a thread that lives as long as the worker shall: the kernel ends it with that thread.

    Raises:
        TierUnavailable: the jail could not be started; says why.
    """

    def __init__(self, tier: Tier, program: Program, limits: Limits) -> None:
        self.tier, self.limits, self.num_calls = tier, limits, 0
        requests_in, self._requests = os.pipe()
        self._replies, replies_out = os.pipe()
        self._pidfds: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._stat = -1
        theirs = [requests_in, replies_out]
        try:
            with _memory_file() as config, _memory_file(_START_BYTES) as said:
                pipes = (requests_in, replies_out)
                config.write(json.dumps(jail_config(tier, program, limits, pipes, config.fileno())).encode())
                config.flush()
                self._process = subprocess.Popen(
                    [*python_command("launch.py"), str(config.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    env={},
                    cwd="/",
                    pass_fds=(*theirs, config.fileno()),
                )
                while theirs:
                    os.close(theirs.pop())
                os.set_blocking(self._requests, False)
                os.set_blocking(self._replies, False)
                self._pidfds.append(os.pidfd_open(self._process.pid))
                self._await_ready(said)
            self.pid = self._find_runner()
            self._stat = os.open(f"/proc/{self.pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except BaseException:
            self.kill()
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)

    def call(
        self, kind: int, body: bytes, *, timeout_s: float, with_output: bool = False, take_up_s: float | None = None
    ) -> Reply:
        """Send one request and take its one reply.

        Args:
            timeout_s: for both together.
            take_up_s: time to begin with it; without, all there is.

        Raises:
            WorkerDied: it was killed, or has to be: `timeout`, `crashed`, `protocol_violation`, or `stalled` when it
                has not begun.
        """
        start = time.monotonic()
        number = self.send(kind, body, timeout_s=timeout_s, with_output=with_output, take_up_s=take_up_s)
        if take_up_s is not None and take_up_s < timeout_s:
            self._await_take_up(start + take_up_s)
        return self.receive(number, timeout_s=start + timeout_s - time.monotonic())

    def send(
        self, kind: int, body: bytes, *, timeout_s: float, with_output: bool = False, take_up_s: float | None = None
    ) -> int:
        """Send a request; returns its random number. Never waits longer than the time for a jail that stopped reading.

        Raises:
            WorkerDied: as `call`.
        """
        self._refuse_early_words()
        number = secrets.randbits(64)
        data = REQUEST.pack(len(body), kind, number, with_output) + body
        self._write(data, time.monotonic() + timeout_s, timeout_s if take_up_s is None else take_up_s)
        self.num_calls += 1
        return number

    def _await_take_up(self, until: float) -> None:
        if _is_ready(self._replies, select.POLLIN, until - time.monotonic()):
            return
        (num_unread,) = struct.unpack("i", fcntl.ioctl(self._requests, termios.FIONREAD, bytes(4)))
        if num_unread:
            self._die("stalled", _STALLED)

    def receive(self, number: int, *, timeout_s: float) -> Reply:
        """The reply to the request with this number.

        Raises:
            WorkerDied: as `call`.
        """
        deadline = time.monotonic() + timeout_s
        header = self._read(REPLY.size, deadline)
        found, outcome, score, text_bytes, output_bytes = REPLY.unpack(header)
        limit = MAX_VALUE_BYTES if outcome == VALUE else MAX_TEXT_BYTES
        if found != number or outcome == READY or text_bytes > limit or output_bytes > MAX_OUTPUT_BYTES:
            self._die("protocol_violation", "it sent a reply that belongs to no outstanding call or is over the limits")
        text, output = self._read(text_bytes, deadline), self._read(output_bytes, deadline)
        if not math.isfinite(score):
            self._die("protocol_violation", "it sent a score that is not finite")
        return Reply(
            outcome, score, shown(text) if outcome != VALUE else text.decode("utf-8", "replace"), shown(output)
        )

    def _refuse_early_words(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._buffer += os.read(self._replies, 1)
            if not self._buffer:
                self._die("crashed", self._last_signal())
        if self._buffer:
            self._die("protocol_violation", "it wrote to the reply pipe while no call was outstanding")

    def usage(self) -> tuple[int, int, float]:
        """(threads, bytes in memory, seconds of processor time) of the runner, as the kernel counts them.

        Raises:
            OSError: it has ended.
        """
        fields = os.pread(self._stat, 1024, 0).rsplit(b")", 1)[1].split()
        ticks = int(fields[11]) + int(fields[12])
        return int(fields[17]), int(fields[21]) * _PAGE_BYTES, ticks / _TICKS_PER_S

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def interrupt(self) -> None:
        """End it from another thread; whoever uses it gets a `WorkerDied` and cleans up."""
        self._signal(self._pidfds[::-1])  # the inner first: the outer one's end would let it live some ms longer

    def _signal(self, pidfds: list[int]) -> None:
        for pidfd in pidfds:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    def kill(self) -> None:
        """End it and everything in it, now. Calling it again is fine."""
        if len(self._pidfds) > 1 and self._process is not None:  # the outer one buries its child, given the time
            self._signal(self._pidfds[1:])
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1.0)
        self.interrupt()
        if self._process is not None:
            self._process.wait()
        for descriptor in (*self._pidfds, self._requests, self._replies, self._stat):
            if descriptor >= 0:
                os.close(descriptor)
        self._pidfds, self._requests, self._replies, self._stat = [], -1, -1, -1

    def _die(self, code: str, message: str) -> None:
        self.kill()
        raise WorkerDied(code, message)

    def _await_ready(self, said: IO[bytes]) -> None:
        try:
            ready = REPLY.unpack(self._read(REPLY.size, time.monotonic() + _START_S))
        except WorkerDied as died:
            said.seek(0)
            words = said.read().decode("utf-8", "replace").strip("\0\n ").splitlines()
            raise TierUnavailable(words[-1] if words else died.message) from None
        if ready != (0, READY, 0.0, 0, 0):
            self.kill()
            raise TierUnavailable("the jail did not report ready")

    def _find_runner(self) -> int:
        """The process id of the runner as the host sees it; under bubblewrap it is the child of its child."""
        assert self._process is not None
        if self.tier == "lockdown":
            return self._process.pid
        inner = _only_child(self._process.pid)
        self._pidfds.append(os.pidfd_open(inner))
        return _only_child(inner)

    def _write(self, data: bytes, deadline: float, patience_s: float) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._requests, view) :]
            except BlockingIOError:
                left_s = deadline - time.monotonic()
                if not _is_ready(self._requests, select.POLLOUT, min(patience_s, left_s)):
                    self._die("stalled" if patience_s < left_s else "timeout", _STALLED)
            except OSError:
                self._die("crashed", self._last_signal())

    def _read(self, count: int, deadline: float) -> bytes:
        while len(self._buffer) < count:
            if not _is_ready(self._replies, select.POLLIN, deadline - time.monotonic()):
                self._die("timeout", "its time ran out")
            part = os.read(self._replies, 1 << 16)
            if not part:
                self._die("crashed", self._last_signal())
            self._buffer += part
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def _last_signal(self) -> str:
        """How it ended, read before it is reaped by `kill`."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(timeout=0.5)
            number = -code if code < 0 else code - 128
            if number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS):
                return "the process crashed (deep recursion, or a fault in compiled code)"
            if number == signal.SIGKILL:
                return "the process was killed by the system, which was out of memory"
            return f"the process ended with status {code} in the middle of a call"
        return "the process closed its pipe in the middle of a call"


def _only_child(pid: int) -> int:
    with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
        return int(file.read().split()[0])


def _is_ready(descriptor: int, event: int, timeout_s: float) -> bool:
    poll = select.poll()  # not select: that one fails in a process with more than 1024 open files
    poll.register(descriptor, event)
    return bool(poll.poll(math.ceil(max(0.0, timeout_s) * 1000)))


_PAGE_BYTES = os.sysconf("SC_PAGESIZE")


def _memory_file(size: int | None = None) -> IO[bytes]:
    """A file without a name. With a size, one that cannot grow past it, for what a jail says while it starts."""
    descriptor = os.memfd_create("sandbox", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    if size is not None:
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return os.fdopen(descriptor, "r+b")


def shown(text: bytes) -> str:
    """Text of the jail as it may be shown: no control characters but line breaks and tabs, no broken UTF-8."""
    return "".join(c for c in text.decode("utf-8", "replace") if c in "\n\t" or (c.isprintable()))


__all__ = ["MAX_REQUEST_BYTES", "Reply", "Worker", "WorkerDied", "shown"]
