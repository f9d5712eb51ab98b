"""The child process that compares mathematical answers: `python -m fettle_graders.math_worker CPU_SECONDS`.

One JSON object a line on standard input, `{"text", "reference"}`; one a line back: `{"equal"}` or `{"failure"}`. The
first line back is `{"ready": true}`.

It ends at the end of its input, also in the midst of a task, and no task outlives its CPU time: the kernel ends the
process, since a sympy power of a power holds the interpreter's lock and no Python code of ours would ever run.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import resource
import signal
import sys
import threading
from typing import Any, BinaryIO

from fettle_graders.math_answers import NoReferenceError, same_answer

MAX_MEMORY_BYTES = 2 * 1024**3


def main() -> None:
    cpu_s = float(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end is our end of input
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    logging.disable(logging.CRITICAL)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)  # parsers print
    same_answer("1", "1")  # compile the patterns before anyone waits
    os.dup2(silence, 2)
    with contextlib.suppress(ValueError, OSError):  # macOS refuses; the processor time still bounds it
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(tasks,), daemon=True).start()
    _write(answers, {"ready": True})
    while True:
        task = tasks.get()
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        answer = _answer(json.loads(task))
        signal.setitimer(signal.ITIMER_PROF, 0)
        _write(answers, answer)


def _read(tasks: queue.SimpleQueue[bytes]) -> None:
    for line in sys.stdin.buffer:
        tasks.put(line)
    os._exit(0)


def _answer(task: dict[str, str]) -> dict[str, Any]:  # a JSON object
    try:
        return {"equal": same_answer(task["text"], task["reference"])}
    except NoReferenceError:
        return {"failure": f"the reference {task['reference'][:60]!r} holds no mathematical answer"}
    except MemoryError:
        return {"failure": "comparing the answers needs more memory than is allowed"}


def _write(answers: BinaryIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
