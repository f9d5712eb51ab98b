"""A `fettle up` of the benchmarks' own: free port, throw-away folder, ended by its pid; and what its processes use."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

START_LIMIT_S = 180
STOP_LIMIT_S = 60
SAMPLE_EVERY_S = 0.5


@dataclass(frozen=True)
class Server:
    """A running server. `start_s`: from the start of its process to the first good answer of /healthz."""

    pid: int
    url: str
    client: httpx.Client
    start_s: float


@contextlib.contextmanager
def running(data_dir: Path, api_key: str, **environment: str) -> Iterator[Server]:
    """Start a server on `data_dir` and stop it afterwards as Ctrl-C does."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [Path(sys.executable).with_name("fettle"), "up", "--port", url.rpartition(":")[2], "--data-dir", data_dir]
    log = data_dir.with_suffix(".log")
    started = time.perf_counter()
    with log.open("a") as output:
        process = subprocess.Popen(
            command,
            env=os.environ | {"FETTLE_BOOTSTRAP_API_KEY": api_key} | environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_until_healthy(process, url, log)
        start_s = time.perf_counter() - started
        headers = {"Authorization": f"Bearer {api_key}"}
        with httpx.Client(base_url=f"{url}/v1", headers=headers, timeout=120, trust_env=False) as client:
            yield Server(process.pid, url, client, start_s)
    finally:
        stop(process)


def wait_until_healthy(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.perf_counter() + START_LIMIT_S
    while time.perf_counter() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/healthz", timeout=5, trust_env=False).status_code == 200:
                return
        time.sleep(0.02)
    sys.exit(f"fettle up did not answer at {url}; its log ends with:\n{log.read_text()[-3000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C; if that takes too long, the end of the process and of every child that it had."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        for pid in process_tree(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def new_api_key() -> str:
    return f"fk_{secrets.token_hex(20)}"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def process_tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def memory_bytes(pid: int) -> int:
    """Proportional set size: pages shared by n processes count one n-th in each, so that a tree can be added up."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


class MemoryPeak:
    """The most memory that a process, or it and its descendants, held at one time, sampled twice a second.

    Attributes:
        before: bytes at the start.
        peak: bytes at the peak.
        at_peak: bytes of each process at the peak, by the module or program it runs.
    """

    def __init__(self, pid: int, *, tree: bool) -> None:
        self._pid, self._tree = pid, tree
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.before = self.peak = 0
        self.at_peak: dict[str, int] = {}

    def __enter__(self) -> MemoryPeak:
        self._sample()
        self.before = self.peak
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_EVERY_S):
            self._sample()

    def _sample(self) -> None:
        used = {pid: memory_bytes(pid) for pid in (process_tree(self._pid) if self._tree else [self._pid])}
        if sum(used.values()) > self.peak:
            self.peak = sum(used.values())
            self.at_peak = {program(pid): size for pid, size in used.items() if size}


def wait_until_settled(pid: int) -> None:
    """Wait until a server and its children, the model server among them, have loaded what they load: until their
    memory has changed by less than a hundredth for five seconds, at most a minute."""
    history: list[int] = []
    for _ in range(60):
        history.append(sum(map(memory_bytes, process_tree(pid))))
        recent = history[-6:]
        if len(recent) == 6 and max(recent) - min(recent) < max(recent) / 100:
            return
        time.sleep(1)


def program(pid: int) -> str:
    """`fettle up`, `fettle_workers.main`, ..."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        if "-m" in words:
            return words[words.index("-m") + 1]
        return next(
            (f"fettle {words[i + 1]}" for i, word in enumerate(words[:-1]) if word.endswith("/fettle")), words[0]
        )
    return "?"
