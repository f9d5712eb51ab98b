"""The child process that runs vLLM, seen from outside: its messages, and every way in which it may fail."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from fettle_workers.contract.frozen import Frozen

CHILD = Path(__file__).parents[1] / "vllm_child" / "__main__.py"
_LOG_TAIL_BYTES = 600


class Ready(Frozen):
    type: Literal["ready"]
    vllm: str
    rss_bytes: int


class Loaded(Frozen):
    type: Literal["loaded"]
    version: int
    rss_bytes: int


class Completed(Frozen):
    type: Literal["completion"]
    call: int
    request: int
    sample: int
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length"]


class Alive(Frozen):
    type: Literal["alive"]


class Done(Frozen):
    type: Literal["done"]
    call: int
    rss_bytes: int


class ChildFailed(Frozen):
    type: Literal["failed"]
    why: Literal["version", "unservable", "memory", "other"]
    message: str


ChildMessage = Ready | Loaded | Completed | Alive | Done | ChildFailed
_MESSAGE: TypeAdapter[ChildMessage] = TypeAdapter(Annotated[ChildMessage, Field(discriminator="type")])


class ChildLost(Exception):
    """The child ended, is silent or says what cannot be understood. Another one may do better."""


class ChildRefused(Exception):
    """The child cannot do what it is for, and another one could not either; `why` as in its message."""

    def __init__(self, why: str, message: str) -> None:
        super().__init__(message)
        self.why = why


class VllmProcess:
    """A running child. The end of this process ends it too; so does `close`."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> None:
        """Raises ChildRefused when there is no such program."""
        self._log = log
        with log.open("ab") as stderr:
            self._log_start = stderr.tell()
            try:
                # In this process's group on purpose: whoever kills the group, as a supervisor does, gets both.
                self._process = subprocess.Popen(
                    [*command, str(os.getpid())],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    env=environment,
                )
            except OSError as error:
                raise ChildRefused("version", f"cannot start {command[0]}: {error.strerror or error}") from error
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._read, self._write)]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: Mapping[str, Any]) -> None:
        """Never waits: a child that does not read is noticed by its silence."""
        self._outbox.put(json.dumps(message).encode() + b"\n")

    def receive(self, *, silence_s: float) -> ChildMessage:
        """The next message.

        Raises:
            ChildLost: it ended, said something that is no message, or nothing for `silence_s`.
            ChildRefused: it says why it cannot go on.
        """
        try:
            line = self._lines.get(timeout=silence_s)
        except queue.Empty:
            raise ChildLost(f"vLLM said nothing for {silence_s:g} s") from None
        if not line:
            status = self._process.wait()
            killed = " (killed, as the kernel does when memory runs out)" if status == -signal.SIGKILL else ""
            raise ChildLost(f"vLLM ended with status {status}{killed}: {self.last_words()}")
        try:
            message = _MESSAGE.validate_json(line)
        except ValidationError:
            raise ChildLost(f"vLLM's process said {line[:200]!r}, which is no message") from None
        if isinstance(message, ChildFailed):
            if message.why == "other":
                raise ChildLost(f"vLLM failed: {message.message}")
            raise ChildRefused(message.why, message.message)
        return message

    def close(self) -> None:
        """End it, whatever it does. Safe to call again."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._outbox.put(None)
        for thread in self._threads:
            thread.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(OSError):  # unsent bytes have nowhere to go
                stream.close()

    def last_words(self) -> str:
        """The end of what this child wrote to standard error."""
        with self._log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - _LOG_TAIL_BYTES))
            return log.read().decode("utf-8", "replace").strip() or "it wrote nothing"

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def _write(self) -> None:
        assert self._process.stdin is not None
        while (line := self._outbox.get()) is not None:
            with suppress(BrokenPipeError):  # it has ended: `receive` tells how
                self._process.stdin.write(line)
                self._process.stdin.flush()
