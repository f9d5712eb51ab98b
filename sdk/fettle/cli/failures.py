"""Errors as people need them: cause, fix, request id. And the exit codes, which are stable.

0 ok · 1 error · 2 usage · 3 key missing or refused · 4 preflight: fixable · 5 preflight: don't · 6 the job ended
without a model · 7 timeout · 130 detached
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import typer

ERROR, USAGE, AUTH, FIXABLE, DONT, JOB_FAILED, TIMEOUT, DETACHED = 1, 2, 3, 4, 5, 6, 7, 130

FIX_BY_CODE = {
    "model_not_found": "`fettle models list` shows the models of this server.",
    "model_not_available": "`fettle models list` shows the models of this server.",
    "file_not_found": "`fettle files list` shows your files.",
    "unsupported_grader": "`fettle graders validate FILE` checks a grader.",
    "invalid_grader": "`fettle graders validate FILE` checks a grader.",
}


@dataclass(frozen=True)
class Failure:
    cause: str
    exit_code: int = ERROR
    fix: str | None = None
    request_id: str | None = None

    def __str__(self) -> str:
        lines = [f"error: {self.cause}"]
        if self.fix:
            lines.append(f"fix: {self.fix}")
        if self.request_id:
            lines.append(f"request id: {self.request_id}")
        return "\n".join(lines)


@contextmanager
def failing_well(base_url: str) -> Iterator[None]:
    """Turn what a verb raises into a message on standard error and an exit code. Bugs keep their traceback."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(DETACHED) from None
    except BrokenPipeError:
        sys.stderr.close()  # the reader left (`| head`): nobody to tell, and no second complaint at exit
        raise typer.Exit(ERROR) from None
    except Exception as error:
        failure = explain(error, base_url)
        if failure is None:
            raise
        typer.echo(str(failure), err=True)
        raise typer.Exit(failure.exit_code) from None


def explain(error: Exception, base_url: str) -> Failure | None:
    """The failure in words, or None when it is nobody's fault but ours."""
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return Failure(f"{error.strerror or error}{where}")
    import openai

    from fettle import errors

    if isinstance(error, errors.FettleError):
        return Failure(_first(error), _own_code(error), error.fix)
    if isinstance(error, openai.APITimeoutError):
        return Failure(f"{base_url} did not answer in time", TIMEOUT, "Try again, or look at the server's log.")
    if isinstance(error, openai.APIConnectionError):
        return Failure(
            f"no server answers at {base_url} ({error.__cause__ or error})",
            ERROR,
            "Start one with `fettle up`, or set FETTLE_BASE_URL to the server's /v1.",
        )
    if isinstance(error, openai.APIStatusError):
        return _refused(error)
    return Failure(str(error)) if isinstance(error, openai.OpenAIError) else None


def _first(error: Any) -> str:
    """The message without the fix, which is printed apart; problems of data files stay, line by line."""
    text = str(error)
    return text.removesuffix(f"\n{error.fix}") if error.fix else text


def _own_code(error: Exception) -> int:
    from fettle import errors

    codes = {
        errors.MissingApiKey: AUTH,
        errors.InvalidRequest: USAGE,
        errors.JobFailed: JOB_FAILED,
        errors.JobTimeout: TIMEOUT,
    }
    return codes.get(type(error), ERROR)


def _refused(error: Any) -> Failure:
    """What the server said. `error` is an `openai.APIStatusError`."""
    body = error.body if isinstance(error.body, dict) else {}
    message = body.get("message") or error.message
    param = f" (param: {error.param})" if error.param else ""
    status: int = error.status_code
    code = AUTH if status in (401, 403) else ERROR
    return Failure(f"{message}{param}", code, _fix(status, error.code), error.request_id)


def _fix(status: int, code: str | None) -> str | None:
    if code in FIX_BY_CODE:
        return FIX_BY_CODE[code]
    by_status = {
        401: "Check FETTLE_API_KEY; `fettle up` prints a key when it first starts.",
        403: "Use a key with more rights.",
        404: "Check the id; `list` shows what is there.",
        429: "Wait a little and try again.",
    }
    return by_status.get(status) or ("Look at the server's log for this request id." if status >= 500 else None)
