"""One job in several trainer processes, one a GPU: the first starts the others, watches them, and speaks for all.

They meet through a file in the work folder and talk over loopback. When one is gone before the job is over, the first
says so and leaves, because the others would wait for it; they in turn leave when their standard input closes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import distributed

from fettle_workers.contract.internal import RunnerInput
from fettle_workers.engine.processes import Processes

_ANOTHER_IS_GONE = 4
_START = timedelta(minutes=10)  # until all of them have loaded their libraries
_LEAVE_S = 5.0
_TELL_S = 30.0  # in which the first process says that another one hangs, before a third one ends for it
_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


class LaunchError(Exception):
    """This host cannot run that many processes: the operator must act."""


class PassBroken(Exception):
    """A process failed inside a pass that the others make with it. They wait for it, so it must be seen to end."""


@dataclass(frozen=True)
class Place:
    """Which of the processes this one is, and the file through which they meet; the first makes it."""

    rank: int
    size: int
    meeting: Path | None = None


def num_processes(asked: int | None) -> int:
    """As many as asked for; else one a visible GPU, or a single one.

    Raises:
        LaunchError: there are fewer GPUs.
    """
    num_gpus = torch.cuda.device_count()
    if asked and 0 < num_gpus < asked:
        raise LaunchError(f"{asked} trainer processes were asked for, and {num_gpus} GPUs are visible: one needs one")
    return asked or max(1, num_gpus)


@contextmanager
def together(
    place: Place,
    job: RunnerInput,
    arguments: Sequence[str],
    tell_lost: Callable[[str], None],
    *,
    silence_limit_s: float,
) -> Iterator[Processes]:
    """The processes that train `job`; the first starts the others as the same program with the same arguments.

    Args:
        silence_limit_s: a process for which another one waits longer than that hangs, and all of them end.
    """
    if place.size == 1:
        yield Processes()
    elif place.rank:
        with _joined(place, silence_limit_s) as processes:
            yield processes
    else:
        Path(job.work_dir).mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=job.work_dir, prefix="processes-", ignore_cleanup_errors=True) as folder:
            place = Place(0, place.size, Path(folder) / "meeting")
            with _others(place, job, arguments, tell_lost), _joined(place, silence_limit_s) as processes:
                yield processes


@contextmanager
def _joined(place: Place, silence_limit_s: float) -> Iterator[Processes]:
    os.environ["GLOO_SOCKET_IFNAME"] = _LOOPBACK  # it would look up the host's name, which may lead nowhere
    store = distributed.FileStore(str(place.meeting), place.size)
    store.set(f"here {place.rank}", "")
    store.wait([f"here {rank}" for rank in range(place.size)], _START)
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=store,
        rank=place.rank,
        world_size=place.size,
        timeout=timedelta(seconds=silence_limit_s + (_TELL_S if place.rank else 0.0)),
    )
    processes = Processes(distributed.group.WORLD)
    try:
        yield processes
    except Exception as error:
        if place.rank and processes.is_in_turn:
            raise PassBroken(f"process {place.rank} failed in a pass of all: {error}") from error
        raise
    distributed.destroy_process_group()  # not after an error: it would wait for the others


@contextmanager
def _others(
    first: Place, job: RunnerInput, arguments: Sequence[str], tell_lost: Callable[[str], None]
) -> Iterator[None]:
    is_over = threading.Event()

    def watch(rank: int, process: subprocess.Popen[bytes]) -> None:
        status = process.wait()
        if status and not is_over.is_set():
            how = f"signal {-status}" if status < 0 else f"status {status}"
            tell_lost(f"process {rank} of the {first.size} that train this job ended with {how}, so all of them end")
            os._exit(_ANOTHER_IS_GONE)

    processes = [_start(Place(rank, first.size, first.meeting), job, arguments) for rank in range(1, first.size)]
    for rank, process in enumerate(processes, start=1):
        threading.Thread(target=watch, args=(rank, process), name=f"process {rank}", daemon=True).start()
    try:
        yield
    except Exception as error:
        _wait(processes)  # that another is gone shows first as a broken connection: let who watches it tell
        hangs = any(process.poll() is None for process in processes)
        if hangs and isinstance(error, RuntimeError) and "imed out" in str(error):  # gloo's words; there is no class
            tell_lost(f"one of the {first.size} processes that train this job hangs, so all of them end: {error}")
            is_over.set()
            for process in processes:
                process.kill()
            os._exit(_ANOTHER_IS_GONE)
        raise
    finally:
        is_over.set()
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        _wait(processes)
        for process in processes:
            process.kill()


def _start(place: Place, job: RunnerInput, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Another process, with a GPU of its own. What it tells nobody reads: it would say the same as the first."""
    command = [sys.executable, "-m", "fettle_workers.main", *arguments, "--supervised"]
    command += ["--processes", str(place.size), "--rank", str(place.rank), "--meeting", str(place.meeting)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=os.environ | own_gpu(place.rank)
    )
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has ended: who watches it tells
        process.stdin.write(job.model_dump_json().encode() + b"\n")
        process.stdin.flush()
    return process


def own_gpu(rank: int) -> dict[str, str]:
    """The variable that leaves a process the GPU of its rank among those that are visible here."""
    if not torch.cuda.is_available():
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {"CUDA_VISIBLE_DEVICES": visible.split(",")[rank] if visible else str(rank)}


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    with suppress(subprocess.TimeoutExpired):
        for process in processes:
            process.wait(_LEAVE_S)
