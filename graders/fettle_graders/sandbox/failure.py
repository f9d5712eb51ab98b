"""What code in the sandbox can fail with: a closed list, whatever the code does."""

from __future__ import annotations

from typing import Literal

from fettle_graders.errors import GraderError
from fettle_graders.sandbox.jail.frames import EXCEPTION, INVALID_RETURN, LOAD_ERROR, MEMORY_LIMIT
from fettle_graders.sandbox.worker import Reply, WorkerDied

Code = Literal["exception", "invalid_return", "timeout", "memory_limit", "crashed", "protocol_violation", "load_error"]

_CODES: dict[int, Code] = {
    EXCEPTION: "exception",
    INVALID_RETURN: "invalid_return",
    MEMORY_LIMIT: "memory_limit",
    LOAD_ERROR: "load_error",
}


class CodeFailure(GraderError):
    """The code that was run is to blame. `code` is one of a closed list; `message` may hold words of the code's.

    `output` is the first of what it printed, where that was asked for and it lived to tell.
    """

    def __init__(self, code: Code, message: str, output: str = "") -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message
        self.output = output


def failure_of_reply(reply: Reply) -> CodeFailure:
    code = _CODES.get(reply.outcome)
    if code is None:
        return CodeFailure("protocol_violation", f"it sent a reply of the unknown kind {reply.outcome}")
    return CodeFailure(code, reply.text, reply.output)


def failure_of_death(died: WorkerDied, limit_s: float) -> CodeFailure:
    codes: dict[str, Code] = {"timeout": "timeout", "stalled": "timeout", "crashed": "crashed"}
    code = codes.get(died.code, "protocol_violation")
    return CodeFailure(code, f"it took longer than {limit_s:g} s" if code == "timeout" else died.message)
