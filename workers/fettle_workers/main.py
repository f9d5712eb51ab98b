"""The trainer process: one job from standard input, events as JSON lines on standard output.

    python -m fettle_workers.main --supervised          line 1 is a RunnerInput, later lines are Commands, EOF ends it;
                                                        it may be started long before its job is there
    python -m fettle_workers.main --dir work < job.json a RunnerInput or TrainSpec, run to the end; run again to resume

It knows no store and has one credential, which lets it ask judge models and nothing else. It calls out for graders
alone. It exits with 0 after a finished, stopped or failed event; any other status is a crash.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import queue
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Literal

from pydantic import ValidationError

from fettle_workers.adapters.events import JsonLines
from fettle_workers.contract.events import Failed
from fettle_workers.contract.internal import Command, RunnerInput
from fettle_workers.contract.spec import DataRef, TrainSpec

Wish = Literal["pause", "cancel", "preempt", "finish"]

_PARENT_IS_GONE = 3


class Wishes:
    """What the trainer was last told to do. SIGTERM means preempt. Implements the engine's `Control`."""

    def __init__(self) -> None:
        self._wish: Wish | None = None

    def poll(self) -> Wish | None:
        return self._wish

    def set(self, wish: Wish) -> None:
        if self._wish != "cancel":
            self._wish = wish

    def follow(self, lines: IO[str], job: queue.SimpleQueue[str]) -> None:
        """Hand on the first line, obey the others. The end of the stream means that the parent is gone: leave at once,
        with a job or without."""
        if first := lines.readline():
            job.put(first)
            for line in lines:
                self.set(Command.model_validate_json(line).command)
        os._exit(_PARENT_IS_GONE)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    events = JsonLines(_claim_standard_output())
    wishes = Wishes()
    signal.signal(signal.SIGTERM, lambda *_: wishes.set("preempt"))
    try:
        job = _parse_job(_await_job(wishes) if options.supervised else sys.stdin.read(), options.dir)
        if not options.supervised:
            _bring_inputs(job)
        from fettle_workers.runner import run  # here: torch takes seconds, which a job that is not valid is spared

        events.emit(run(job, options, events, wishes))
    except _Refused as refused:
        events.emit(refused.failed)
    return 0


class _Refused(Exception):
    """A foreseeable end of the job, as the event that tells it."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message)
        self.failed = failed


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fettle_workers.main", description=__doc__.split("\n")[0])
    parser.add_argument("--supervised", action="store_true", help="a parent sends commands; EOF ends this process")
    parser.add_argument("--dir", type=Path, default=Path("fettle-run"), help="work folder for a plain TrainSpec")
    parser.add_argument("--models-file", type=Path, help="catalogue of base models (models.toml)")
    parser.add_argument("--vllm-python", type=Path, help="`python` of an environment with vLLM, which then samples")
    parser.add_argument("--vllm-memory-share", type=float, default=0.4, help="of the GPU's memory, for vLLM")
    parser.add_argument("--vllm-cache", type=Path, help="folder for what vLLM compiles; default: in the work folder")
    parser.add_argument("--processes", type=int, help="that train together; default: one a GPU, or a single one")
    parser.add_argument(
        "--parallelism", choices=("auto", "ddp", "fsdp"), default="auto", help="of several: who holds the base"
    )
    parser.add_argument(
        "--silence-limit", type=float, default=6 * 3600.0, help="seconds one of several may let another wait"
    )
    parser.add_argument("--rank", type=int, default=0, help=argparse.SUPPRESS)  # the other processes get these two
    parser.add_argument("--meeting", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help="torch threads (1: two collapse beside a busy process)")
    given = list(sys.argv[1:] if arguments is None else arguments)
    return parser.parse_args(given, argparse.Namespace(given=given))


def _claim_standard_output() -> IO[str]:
    """Keep standard output for events; whatever else prints, prints to standard error."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


def _await_job(wishes: Wishes) -> str:
    """Load what takes seconds, then take the job, which may be there already or come much later."""
    line: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=wishes.follow, args=(sys.stdin, line), name="commands", daemon=True).start()
    import fettle_workers.runner  # noqa: F401

    return line.get()


def _parse_job(text: str, work_dir: Path) -> RunnerInput:
    try:
        data = json.loads(text)
        if isinstance(data, dict) and "spec" in data:
            return RunnerInput.model_validate(data)
        return RunnerInput(spec=TrainSpec.model_validate(data), work_dir=str(work_dir))
    except (ValueError, ValidationError) as error:
        raise _Refused(
            Failed(code="internal_error", message=f"the job on standard input is not valid: {error}")
        ) from None


def _bring_inputs(job: RunnerInput) -> None:
    """Without a supervisor nobody downloads: a data file's `key` may be the path of a local file."""
    for data, param in ((job.spec.training_file, "training_file"), (job.spec.validation_file, "validation_file")):
        if data is not None:
            _bring(data, Path(job.work_dir) / "inputs" / data.sha256, param)


def _bring(data: DataRef, target: Path, param: str) -> None:
    source = Path(data.key)
    if target.exists() or not source.is_file():
        return
    with source.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != data.sha256:
        message = f"{source} has the SHA-256 {found}, the job says {data.sha256}"
        raise _Refused(Failed(code=f"invalid_{param}", message=message, param=param))
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


if __name__ == "__main__":
    sys.exit(main())
