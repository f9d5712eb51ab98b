"""`python`: the user's `grade(sample, item)`, in the sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fettle_graders.errors import GradeFailure
from fettle_graders.grade import Scored, ScoreOne
from fettle_graders.kinds import PythonSpec
from fettle_graders.sample import UNSET, Sample
from fettle_graders.sandbox.failure import CodeFailure
from fettle_graders.sandbox.tenant import CodeSandbox


def python_score(spec: PythonSpec, sandbox: CodeSandbox) -> ScoreOne:
    """Whatever the source does wrong is a `python_grader_runtime_error`; a fault of the sandbox is raised as it is."""

    def score_one(item: Mapping[str, Any], sample: Sample) -> Scored:
        try:
            body = json.dumps([_fields(sample), item]).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise GradeFailure("other_error", f"row and completion cannot be written as JSON: {error}") from None
        try:
            reply = sandbox.grade(spec.source, body)
        except CodeFailure as failure:
            message = f"{failure.code}: {failure.message}"
            notes = sandbox.notes(failure.output)
            raise GradeFailure("python_grader_runtime_error", message, details=message, notes=notes) from None
        return Scored(reply.score, notes=sandbox.notes(reply.output))

    return score_one


def _fields(sample: Sample) -> dict[str, Any]:
    """The completion as `grade` sees it. Without `output_json` the text is parsed inside, where it can do no harm."""
    fields = {
        "output_text": sample.output_text,
        "output_reasoning": sample.output_reasoning,
        "output_tools": sample.output_tools or [],
        "choices": sample.choices or [],
    }
    return fields if sample.output_json is UNSET else fields | {"output_json": sample.output_json}
