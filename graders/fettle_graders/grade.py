"""The result of grading. `compile.compile_grader` turns a definition into a `Grader`, which gives each completion one.

A grade without a score is a failure, never a zero: training masks that completion out. Only the public wire shows a
reward of 0 beside the raised flags (`run_response`). A completion that is not the JSON its grader reads is another
matter: that is a wrong answer, graded 0 with the flag raised.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

from fettle_graders.errors import CompletionFault, Flag, GradeFailure, SandboxFault
from fettle_graders.kinds import GraderSpec
from fettle_graders.sample import Sample
from fettle_graders.services import TokenUsage


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
    def of(cls, flag: Flag, details: str | None = None) -> GradeErrors:
        """One flag set, with its `_details` or `_type` where the wire has such a field beside it."""
        values: dict[str, Any] = {flag: True}  # the fields have two types
        beside = (f"{flag}_details", f"{flag}_type")
        values |= {entry.name: details for entry in fields(cls) if entry.name in beside}
        return cls(**values)

    def raised(self) -> tuple[str, ...]:
        """The names of the flags that are set."""
        return tuple(entry.name for entry in fields(self) if getattr(self, entry.name) is True)

    def __or__(self, other: GradeErrors) -> GradeErrors:
        return GradeErrors(**{name: value or getattr(other, name) for name, value in asdict(self).items()})


@dataclass(frozen=True)
class Vote:
    """What a group's vote says of one completion.

    Attributes:
        share: completions of the group that agree with its vote, from 0 to 1.
        winner_is_right, is_right: whether the vote, and this completion, are right; None on a row without a label.
        trains: False for a completion that voted only.
    """

    share: float
    winner_is_right: bool | None = None
    is_right: bool | None = None
    trains: bool = True


@dataclass(frozen=True)
class Grade:
    """The result for one completion.

    Attributes:
        score: a finite number, or None when grading failed.
        errors: why it failed. Beside a score only what the completion is to blame for is set: no JSON, a field missing.
        sub_scores: of a multi grader, by name; None for the failed ones. A grader that fails but is not used by the
            formula does not fail the grade.
        sub_errors: of a multi grader, by name.
        message: what failed, in words, with the template or the grader it failed in; beside a score, why it is this
            one, where the kind can say.
        outcome: the true outcome, of a multi grader with an outcome gate.
        usage: tokens that judges used, by model; also those of a grade that failed.
        sub_usage: the same of each grader of a multi grader, by name.
        vote: of a kind whose completions vote.
        notes: what a kind has to say beside the wire's fields, a JSON object: the sandbox's tier, what was printed.
    """

    score: float | None
    errors: GradeErrors = field(default_factory=GradeErrors)
    sub_scores: Mapping[str, float | None] = field(default_factory=dict)
    sub_errors: Mapping[str, GradeErrors] = field(default_factory=dict)
    execution_time_s: float = 0.0
    message: str | None = None
    sub_execution_times_s: Mapping[str, float] = field(default_factory=dict)
    usage: Mapping[str, TokenUsage] = field(default_factory=dict)
    sub_usage: Mapping[str, Mapping[str, TokenUsage]] = field(default_factory=dict)
    outcome: float | None = None
    vote: Vote | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


class Grader(Protocol):
    """A definition that can grade. Safe to use from many threads."""

    @property
    def spec(self) -> GraderSpec: ...

    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        """Grade one completion of one dataset row. Never raises for what row and completion hold.

        Raises:
            SandboxFault: code cannot be run here now.
        """
        ...

    def grade_group(self, item: Mapping[str, Any], samples: Sequence[Sample]) -> list[Grade]:
        """Grade all completions of one row, in order. For kinds that compare them with each other, the one way."""
        ...


@dataclass(frozen=True)
class Scored:
    """What a kind that grades completions one by one makes of one.

    Attributes:
        usage: the tokens its judge used for it.
        message: why it is this score, where the kind can say.
    """

    score: float
    usage: Mapping[str, TokenUsage] = field(default_factory=dict)
    message: str | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


ScoreOne = Callable[[Mapping[str, Any], Sample], Scored]
"""(row, completion) to its score. Raises GradeFailure."""


class SingleGrader:
    """A kind that grades completions one by one: times it, and turns whatever is raised into a grade."""

    def __init__(self, spec: GraderSpec, score: ScoreOne) -> None:
        self._spec = spec
        self._score = score

    @property
    def spec(self) -> GraderSpec:
        return self._spec

    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        start = time.perf_counter()
        usage: Mapping[str, TokenUsage] = {}
        notes: Mapping[str, Any] = {}
        message = None
        try:
            scored = self._score(item, sample)
            score, usage, notes, message = scored.score, scored.usage, scored.notes, scored.message
            errors = GradeErrors()
            if not math.isfinite(score):
                errors, message = GradeErrors.of("other_error"), f"the score {score} is not a finite number"
        except CompletionFault as fault:
            score, errors, message = 0.0, GradeErrors.of(fault.flag), fault.message
        except GradeFailure as failure:
            score, usage, notes = math.nan, failure.usage, failure.notes
            errors, message = GradeErrors.of(failure.flag, failure.details), failure.message
        except SandboxFault:
            raise
        except Exception as error:  # one completion's failure never stops its group; it is recorded and counted
            score, errors = math.nan, GradeErrors.of("other_error")
            message = f"{type(error).__name__}: {error}"[:500]
        return Grade(
            score=score if math.isfinite(score) else None,
            errors=errors,
            execution_time_s=time.perf_counter() - start,
            message=message,
            usage=usage,
            notes=notes,
        )

    def grade_group(self, item: Mapping[str, Any], samples: Sequence[Sample]) -> list[Grade]:
        return [self.grade(item, sample) for sample in samples]


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
            "token_usage": sum(usage.total_tokens for usage in grade.usage.values()) if grade.usage else None,
        },
        "fettle": {"message": grade.message} | ({"notes": dict(grade.notes)} if grade.notes else {}),
        "model_grader_token_usage_per_model": {model: usage.model_dump() for model, usage in grade.usage.items()},
    }
