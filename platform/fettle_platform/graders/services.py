"""Reading and running graders. What runs here comes from the grader library only; user code never runs in this process.

Usage by jobs: `spec = grader_parse(data=..., param="method.reinforcement.grader")`, then
`grader_require_supported(spec=spec, param=...)`.
"""

from __future__ import annotations

from typing import Any

from fettle_graders.errors import GraderSpecError
from fettle_graders.grade import compile_grader, run_response
from fettle_graders.sample import Sample
from fettle_graders.spec import GraderSpec, parse_grader, unsupported
from fettle_platform.core.errors import InvalidRequest

MAX_SAMPLE_CHARS = 1_000_000


def grader_parse(*, data: Any, param: str) -> GraderSpec:
    """Read a grader as a user wrote it (any JSON value).

    Args:
        param: dotted path of the grader in the request.

    Raises:
        InvalidRequest: `invalid_grader`, with the path of the wrong field.
    """
    try:
        return parse_grader(data)
    except GraderSpecError as error:
        path = ".".join(part for part in (param, error.param) if part)
        raise InvalidRequest(f"{path}: {error.message}", param=path, code="invalid_grader") from None


def grader_require_supported(*, spec: GraderSpec, param: str) -> None:
    """Raises InvalidRequest: this installation cannot run it; the message names what can be used instead."""
    reason = unsupported(spec)
    if reason is not None:
        raise InvalidRequest(f"{param}: {reason}", param=param, code="invalid_grader")


def grader_run(*, spec: GraderSpec, model_sample: str, item: dict[str, Any]) -> dict[str, Any]:
    """Grade one answer to one row; the wire's answer, with flags and a reward of 0 where the grader failed.

    Mathematical answers are compared in a child process with a time limit (`fettle_graders.math_process`).

    Raises:
        InvalidRequest: this installation cannot run the grader, or the answer is too long to grade while one waits.
    """
    grader_require_supported(spec=spec, param="grader")
    if len(model_sample) > MAX_SAMPLE_CHARS:
        raise InvalidRequest(
            f"model_sample has {len(model_sample)} characters; at most {MAX_SAMPLE_CHARS}", param="model_sample"
        )
    grade = compile_grader(spec).grade(item, Sample(output_text=model_sample))
    return run_response(spec, grade)
