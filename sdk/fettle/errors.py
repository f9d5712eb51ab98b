"""Errors the client raises by itself. What the server answers raises the official classes of `openai`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openai import OpenAIError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fettle.results import Problem


class FettleError(OpenAIError):
    """Root of everything below. `fix` says what the caller can do about it."""

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        super().__init__(message if fix is None else f"{message}\n{fix}")
        self.message = message
        self.fix = fix


class MissingApiKey(FettleError):
    """No API key was passed and FETTLE_API_KEY is not set."""


class InvalidRequest(FettleError):
    """An argument cannot work, found before anything was sent."""


class InvalidData(FettleError):
    """A data file has rows that cannot be trained on.

    Attributes:
        problems: what is wrong, one entry per cause, each with the first lines it was found on.
    """

    def __init__(self, message: str, *, problems: Sequence[Problem], fix: str | None = None) -> None:
        super().__init__("\n".join([message, *(f"  {problem}" for problem in problems)]), fix=fix)
        self.problems = tuple(problems)


class JobFailed(FettleError):
    """The job ended without a model: it failed or was cancelled."""

    def __init__(self, message: str, *, job_id: str, status: str, code: str | None, fix: str | None = None) -> None:
        super().__init__(message, fix=fix)
        self.job_id = job_id
        self.status = status
        self.code = code


class JobTimeout(FettleError):
    """`wait(timeout=...)` ran out. The job itself goes on."""


class DownloadRefused(FettleError):
    """The archive holds a path outside the target folder, a link, or would overwrite files."""
