"""Grading: a definition becomes a `Grader`, and a grader gives each completion a `Grade`.

A grade without a score is a failure, never a zero: training masks that completion out. Only the public wire shows a
reward of 0 beside the raised flags (`run_response`). A completion that is not the JSON its grader reads is another
matter: that is a wrong answer, graded 0 with the flag raised.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import reduce
from operator import or_
from typing import Any, Protocol

from fettle_graders.errors import CompletionFault, Flag, FormulaError, GradeFailure, UnsupportedGraderError
from fettle_graders.formula import parse_formula
from fettle_graders.math_process import shared_math_score
from fettle_graders.sample import Sample
from fettle_graders.spec import (
    GraderSpec,
    MathSpec,
    MultiSpec,
    StringCheckSpec,
    TextSimilaritySpec,
    unsupported,
)
from fettle_graders.string_check import check_string
from fettle_graders.template import parse_template
from fettle_graders.text_similarity import text_similarity


@dataclass(frozen=True)
class GradeErrors:
    """What went wrong, in the wire's names. The `_details` and `_type` fields are text, the others flags.

    `formula_parse_error` is also raised when the formula has no finite value (division by zero, log of 0), and
    `unresponsive_reward_error` when a grader gave no answer in time.
    """

    formula_parse_error: bool = False
    sample_parse_error: bool = False
    truncated_observation_error: bool = False
    unresponsive_reward_error: bool = False
    invalid_variable_error: bool = False
    other_error: bool = False
    python_grader_server_error: bool = False
    python_grader_server_error_type: str | None = None
    python_grader_runtime_error: bool = False
    python_grader_runtime_error_details: str | None = None
    model_grader_server_error: bool = False
    model_grader_server_error_details: str | None = None
    model_grader_refusal_error: bool = False
    model_grader_parse_error: bool = False

    @classmethod
    def of(cls, flag: Flag) -> GradeErrors:
        """One flag set."""
        values: dict[str, Any] = {flag: True}  # the fields have two types
        return cls(**values)

    def raised(self) -> tuple[str, ...]:
        """The names of the flags that are set."""
        return tuple(entry.name for entry in fields(self) if getattr(self, entry.name) is True)

    def __or__(self, other: GradeErrors) -> GradeErrors:
        return GradeErrors(**{name: value or getattr(other, name) for name, value in asdict(self).items()})


@dataclass(frozen=True)
class Grade:
    """The result for one completion.

    Attributes:
        score: a finite number, or None when grading failed.
        errors: why it failed. Beside a score only what the completion is to blame for is set: no JSON, a field missing.
        sub_scores: of a multi grader, by name; None for the failed ones. A grader that fails but is not used by the
            formula does not fail the grade.
        sub_errors: of a multi grader, by name.
        message: what failed, in words, with the template or the grader it failed in.
    """

    score: float | None
    errors: GradeErrors = field(default_factory=GradeErrors)
    sub_scores: Mapping[str, float | None] = field(default_factory=dict)
    sub_errors: Mapping[str, GradeErrors] = field(default_factory=dict)
    execution_time_s: float = 0.0
    message: str | None = None
    sub_execution_times_s: Mapping[str, float] = field(default_factory=dict)


class Grader(Protocol):
    """A definition that can grade. Safe to use from many threads."""

    @property
    def spec(self) -> GraderSpec: ...

    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        """Grade one completion of one dataset row. Never raises for what row and completion hold."""
        ...


TextScore = Callable[[str, str], float]
"""(input, reference), both filled in, to a score. Raises GradeFailure."""


def compile_grader(spec: GraderSpec, *, math_score: TextScore = shared_math_score) -> Grader:
    """Make a grader ready to grade.

    Args:
        math_score: compares mathematical answers, in bounded time; `MathPool.score` of a pool of your own, or by
            default that of the process's shared pool of one child.

    Raises:
        UnsupportedGraderError: this installation cannot run it, see `unsupported`.
    """
    reason = unsupported(spec)
    if reason is not None:
        raise UnsupportedGraderError(reason)
    if isinstance(spec, MultiSpec):
        graders = {name: compile_grader(grader, math_score=math_score) for name, grader in spec.graders.items()}
        return _Multi(spec, graders)
    return _TextPair(spec, _text_score(spec, math_score))


def _text_score(spec: GraderSpec, math_score: TextScore) -> TextScore:
    match spec:
        case StringCheckSpec(operation=operation):
            return lambda text, reference: check_string(text, reference, operation)
        case TextSimilaritySpec(evaluation_metric=metric):
            return lambda text, reference: text_similarity(text, reference, metric)
        case MathSpec():
            return math_score
        case _:
            raise UnsupportedGraderError(f"no grader for the type {spec.type}")


class _TextPair:
    """A kind that compares two filled-in templates."""

    def __init__(self, spec: Any, score: TextScore) -> None:  # any spec with the fields input and reference
        self._spec = spec
        self._input = parse_template(spec.input)
        self._reference = parse_template(spec.reference)
        self._score = score

    @property
    def spec(self) -> GraderSpec:
        spec: GraderSpec = self._spec
        return spec

    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        start = time.perf_counter()
        try:
            score = self._score(self._input.render(item, sample), self._reference.render(item, sample))
            errors, message = GradeErrors(), None
        except CompletionFault as fault:
            score, errors, message = 0.0, GradeErrors.of(fault.flag), None
        except GradeFailure as failure:
            score, errors, message = math.nan, GradeErrors.of(failure.flag), failure.message
        except Exception as error:  # one completion's failure never stops its group; it is recorded and counted
            score, errors = math.nan, GradeErrors.of("other_error")
            message = f"{type(error).__name__}: {error}"[:500]
        if message is None and not math.isfinite(score):
            errors, message = GradeErrors.of("other_error"), f"the score {score} is not a finite number"
        return Grade(
            score=None if message is not None else score,
            errors=errors,
            execution_time_s=time.perf_counter() - start,
            message=message,
        )


class _Multi:
    def __init__(self, spec: MultiSpec, graders: Mapping[str, Grader]) -> None:
        self._spec = spec
        self._graders = graders
        self._formula = parse_formula(spec.calculate_output)

    @property
    def spec(self) -> GraderSpec:
        return self._spec

    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        start = time.perf_counter()
        grades = {name: grader.grade(item, sample) for name, grader in self._graders.items()}
        score, errors, message = self._combine(grades)
        return Grade(
            score=score,
            errors=errors,
            sub_scores={name: grade.score for name, grade in grades.items()},
            sub_errors={name: grade.errors for name, grade in grades.items()},
            execution_time_s=time.perf_counter() - start,
            message=message,
            sub_execution_times_s={name: grade.execution_time_s for name, grade in grades.items()},
        )

    def _combine(self, grades: Mapping[str, Grade]) -> tuple[float | None, GradeErrors, str | None]:
        used = {name: grade for name, grade in grades.items() if name in self._formula.variables}
        errors = reduce(or_, (grade.errors for grade in used.values()), GradeErrors())
        failed = {name: grade for name, grade in used.items() if grade.score is None}
        if failed:
            return None, errors, "; ".join(f"grader {name!r}: {grade.message}" for name, grade in failed.items())
        try:
            values = {name: grade.score for name, grade in used.items() if grade.score is not None}
            return self._formula.evaluate(values), errors, None
        except FormulaError as error:
            return None, errors | GradeErrors.of("formula_parse_error"), f"calculate_output: {error}"


def run_response(spec: GraderSpec, grade: Grade) -> dict[str, Any]:
    """The answer of `graders/run`, a JSON object: a failure is a reward of 0 beside the raised flags."""
    scores = {name: score if score is not None else 0.0 for name, score in grade.sub_scores.items()}
    return {
        "reward": grade.score if grade.score is not None else 0.0,
        "sub_rewards": scores,
        "metadata": {
            "name": spec.name,
            "type": spec.type,
            "errors": asdict(grade.errors),
            "execution_time": grade.execution_time_s,
            "scores": scores,
            "sampled_model_name": None,
            "token_usage": None,
        },
        "model_grader_token_usage_per_model": {},
    }
