"""What this library raises. Everything comes from `GraderError`; the subclass says who must act."""

from __future__ import annotations


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
    """One completion could not be graded. `flag` is the field of `GradeErrors` to raise; never a score of 0."""

    def __init__(self, flag: str, message: str) -> None:
        super().__init__(message)
        self.flag = flag
        self.message = message
