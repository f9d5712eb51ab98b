"""The trainer as a child process: JSON lines on its pipes, its own process group, no credentials."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from fettle_workers.contract.events import EVENT, Event
from fettle_workers.contract.internal import Command, RunnerInput
from fettle_workers.env import WorkerSettings

# The trainer runs user-supplied graders' inputs and model files: it gets what Python and torch need and nothing else.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_ENVIRONMENT_PREFIXES = ("CUDA_", "NVIDIA_", "NCCL_", "HF_", "OMP_", "MKL_", "TORCH_", "PYTORCH_")
_LOG_TAIL_BYTES = 2000


def trainer_command(settings: WorkerSettings) -> list[str]:
    command = [sys.executable, "-m", "fettle_workers.main", "--supervised", "--threads", str(settings.threads)]
    if settings.trainer_processes is not None:
        command += ["--processes", str(settings.trainer_processes)]
    command += ["--parallelism", settings.trainer_parallelism, "--silence-limit", str(settings.silence_limit_s)]
    if settings.models_file is not None:
        command += ["--models-file", str(settings.models_file)]
    if settings.vllm_python is not None:
        command += ["--vllm-python", str(settings.vllm_python.absolute())]
        command += ["--vllm-memory-share", str(settings.vllm_memory_share)]
        command += ["--vllm-cache", str(settings.data_dir / "cache")]
    return command


class Trainer:
    """A trainer process: it waits for a job, takes one and never a second. Closing its standard input ends it, whatever
    it does; so does the end of this process."""

    def __init__(self, command: Sequence[str], *, threads: int, log: Path) -> None:
        self.log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_environment(threads),
                start_new_session=True,
            )
        self._reader: threading.Thread | None = None

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def begin(self, job: RunnerInput, *, on_event: Callable[[Event], None], on_exit: Callable[[], None]) -> None:
        """Give it its job. From now on its log lies in the job's work folder."""
        self.log = self.log.replace(Path(job.work_dir) / "trainer.log")
        self._write(job.model_dump_json())
        self._reader = threading.Thread(target=self._read, args=(on_event, on_exit), name="trainer", daemon=True)
        self._reader.start()

    def send(self, command: Command) -> None:
        self._write(command.model_dump_json())

    def kill(self) -> None:
        """End the whole process group now. Safe to call again, and after it has ended."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> int:
        """The exit status, after the last event was handed on."""
        if self._reader is not None:
            self._reader.join()
        return self._process.wait()

    def last_words(self) -> str:
        """The end of what it wrote to standard error."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _LOG_TAIL_BYTES))
            return log.read().decode("utf-8", "replace").strip()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: the reader sees that too
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def _read(self, on_event: Callable[[Event], None], on_exit: Callable[[], None]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                on_event(EVENT.validate_json(line))
            except ValidationError as error:
                self.kill()
                with suppress(OSError), self.log.open("ab") as log:  # a full disk must not stop this thread
                    log.write(f"not an event: {line[:500]!r}: {error}\n".encode())
        self._process.wait()
        on_exit()


def _environment(threads: int) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _ENVIRONMENT or name.startswith(_ENVIRONMENT_PREFIXES)
    }
    return kept | {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
