"""What the training side raises. The type says who must act."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial


class EngineError(Exception):
    """Root of the training side's exceptions."""


class JobFailed(EngineError):
    """The job cannot go on and its owner must act: `message` says what was found, expected, and what to do.

    `code` is one of `contract.events.JOB_ERROR_CODES`; `param` the field of the job that is to blame, if one is.
    """

    def __init__(self, code: str, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param

    def __reduce__(self) -> tuple[Callable[..., JobFailed], tuple[str, str]]:
        return partial(type(self), param=self.param), (self.code, self.message)


class CheckpointError(EngineError):
    """A checkpoint folder is damaged or belongs to another job: the operator must act."""
