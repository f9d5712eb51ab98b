"""What this library raises. Everything comes from `GraderError`; the subclass says who must act."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from fettle_graders.services import TokenUsage

Flag = Literal[
    "formula_parse_error",
    "sample_parse_error",
    "truncated_observation_error",
    "unresponsive_reward_error",
    "invalid_variable_error",
    "other_error",
    "python_grader_server_error",
    "python_grader_runtime_error",
    "model_grader_server_error",
    "model_grader_refusal_error",
    "model_grader_parse_error",
]


class GraderError(Exception):
    """Root of the library's exceptions."""


class GraderSpecError(GraderError, ValueError):
    """The grader's definition is not valid: its author must change it.

    `param` is the dotted path of the field inside the grader (`graders.ok.input`), empty for the grader as a whole.
    """

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param
        self.message = message

    def __reduce__(self) -> tuple[type[GraderSpecError], tuple[str, str]]:
        return type(self), (self.param, self.message)


class UnsupportedGraderError(GraderError):
    """The definition is valid, but this installation cannot run it. The message names what can be used instead."""


class TemplateSyntaxError(GraderError, ValueError):
    """A `{{ }}` reference that can never be filled in, whatever the row and the completion are."""


class FormulaSyntaxError(GraderError, ValueError):
    """`calculate_output` cannot be read."""


class FormulaError(GraderError, ArithmeticError):
    """`calculate_output` was read, but gives no finite number for these values."""


class GradeFailure(GraderError):
    """One completion could not be graded. `flag` is the field of `GradeErrors` to raise; never a score of 0.

    Args:
        details: for the flag's `_details` or `_type` field, where the wire has one.
        usage: tokens that a judge used before it failed, by model.
        notes: as in `Grade.notes`.
    """

    def __init__(
        self,
        flag: Flag,
        message: str,
        *,
        details: str | None = None,
        usage: Mapping[str, TokenUsage] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.flag: Flag = flag
        self.message = message
        self.details = details
        self.usage: Mapping[str, TokenUsage] = usage or {}
        self.notes: Mapping[str, Any] = notes or {}


class CompletionFault(GradeFailure):
    """The grader works and the completion is not what it reads: no JSON, or a field of it is missing.

    Unlike every other failure this is a grade: 0, with the flag raised. Masking such completions out of training would
    teach a model that answers in the wrong form nothing about the right one.
    """


class SandboxFault(GraderError):
    """The code sandbox did not do its part: nobody's grader or completion is to blame, and no grade comes of it.

    `code` is `sandbox_unavailable` (no tier passed its self-test here) or `sandbox_failure` (one did, and workers do
    not start any more). Unlike a `GradeFailure` it is raised through `grade`: an operator must act.
    """

    def __init__(self, code: Literal["sandbox_unavailable", "sandbox_failure"], message: str) -> None:
        super().__init__(message)
        self.code: Literal["sandbox_unavailable", "sandbox_failure"] = code
        self.message = message

    def __reduce__(self) -> tuple[type[SandboxFault], tuple[str, str]]:
        return type(self), (self.code, self.message)
