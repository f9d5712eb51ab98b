"""Runs one program that a model wrote on the inputs of its tests. What is expected stays here."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fettle_graders.sandbox.jail.frames import ENDED, EXCEPTION, MEMORY_LIMIT, PING, RUN, TOO_LARGE, VALUE
from fettle_graders.sandbox.pool import Sandbox
from fettle_graders.sandbox.worker import Worker, WorkerDied

Outcome = Literal["value", "exception", "timeout", "memory_limit", "too_large", "crashed", "protocol_violation"]
_OUTCOMES: dict[int, Outcome] = {
    VALUE: "value",
    EXCEPTION: "exception",
    MEMORY_LIMIT: "memory_limit",
    TOO_LARGE: "too_large",
    ENDED: "crashed",
}
_DIED: dict[str, Outcome] = {"timeout": "timeout", "crashed": "crashed"}
_MESSAGES: dict[Outcome, str] = {
    "too_large": "the answer has more than 64 KiB",
    "crashed": "the program ended its process",
    "timeout": "the time was up",
}
_GRACE_S = 1.0  # for a process that has answered all its tests to end


@dataclass(frozen=True)
class Ran:
    """What came of one test's input.

    Attributes:
        text: of a `value`, the JSON text of what a function returned (`jail.values`) or what was printed; untrusted.
            Else what went wrong.
        seconds: by the host's clock.
    """

    outcome: Outcome
    text: str
    seconds: float


def run_program(
    sandbox: Sandbox,
    organization: str,
    source: str,
    inputs: Sequence[Mapping[str, Any]],
    *,
    timeout_s: float,
    total_s: float,
) -> list[Ran]:
    """Run a program on each input, in order.

    Args:
        inputs: all `{"stdin": text}`, for which the program runs as a whole, each time in a process of its own; or
            `{"call": name, "args", "kwargs"}` (`jail.values`) and `{"assertion": text}`, all in one process.
        timeout_s: of one input; the program's own top level counts to the first.
        total_s: of them all. What is left then has the outcome `timeout`.

    Raises:
        SandboxFault: nobody's fault but ours.
    """
    deadline = time.monotonic() + total_s
    found: list[Ran] = []
    while len(found) < len(inputs):
        rest = inputs[len(found) :]
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            found += [Ran("timeout", f"the {total_s:g} s of all tests were up", 0.0)] * len(rest)
            break
        job: dict[str, Any] = {"source": source, "cpu_s": math.ceil(left_s) + 1}
        job |= {"stdin": rest[0]["stdin"]} if "stdin" in rest[0] else {"tests": list(rest)}
        with sandbox.fork_server(organization) as worker:
            found += _run(worker, job, 1 if "stdin" in rest[0] else len(rest), timeout_s, deadline)
    return found


def _run(worker: Worker, job: Mapping[str, Any], num_answers: int, timeout_s: float, deadline: float) -> list[Ran]:
    """One process of the program: at least one answer, fewer than asked for when the process had to be ended."""
    found: list[Ran] = []
    start = time.monotonic()
    try:
        number = worker.send(RUN, json.dumps(job).encode(), timeout_s=timeout_s)
        while len(found) < num_answers:
            start = time.monotonic() if found else start
            reply = worker.receive(number, timeout_s=min(timeout_s, max(0.0, deadline - start)))
            outcome = _OUTCOMES.get(reply.outcome, "protocol_violation")
            ran = Ran(outcome, reply.text or _MESSAGES.get(outcome, ""), time.monotonic() - start)
            found.append(ran)
            if outcome in ("crashed", "protocol_violation"):
                found += [ran] * (num_answers - len(found))
                if outcome == "protocol_violation":
                    worker.kill()
                    return found
                break
        else:
            worker.receive(number, timeout_s=_GRACE_S)  # that it has ended
        # The program never had the pipe this number comes by: after its answer nothing of the program is left.
        worker.call(PING, b"", timeout_s=_GRACE_S)
    except WorkerDied as died:
        if len(found) < num_answers:
            outcome = _DIED.get(died.code, "protocol_violation")
            ran = Ran(outcome, _MESSAGES.get(outcome, died.message), time.monotonic() - start)
            # A timeout is that test's alone. Whatever else ends the whole process would do so again.
            found += [ran] * (1 if outcome == "timeout" else num_answers - len(found))
    return found
