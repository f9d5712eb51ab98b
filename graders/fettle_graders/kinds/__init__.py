"""One frozen model a grader type, with the fields the wire has. Users' input comes in through `spec.parse_grader`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from fettle_graders.formula import FUNCTIONS, is_variable_name, parse_formula
from fettle_graders.kinds.base import GraderBase
from fettle_graders.kinds.code import CodeSpec, PythonSpec
from fettle_graders.kinds.declarative import FormatSpec, JsonSchemaSpec, MajoritySpec, RegexSpec
from fettle_graders.kinds.endpoint import EndpointSpec
from fettle_graders.kinds.judge import LabelModelSpec, ScoreModelSpec
from fettle_graders.kinds.scorer import ProcessSpec, RewardModelSpec
from fettle_graders.kinds.text import MathSpec, StringCheckSpec, TextSimilaritySpec

__all__ = [
    "CodeSpec",
    "EndpointSpec",
    "FormatSpec",
    "GraderSpec",
    "JsonSchemaSpec",
    "LabelModelSpec",
    "MajoritySpec",
    "MathSpec",
    "MultiSpec",
    "ProcessSpec",
    "PythonSpec",
    "RegexSpec",
    "RewardModelSpec",
    "ScoreModelSpec",
    "SingleGraderSpec",
    "StringCheckSpec",
    "TextSimilaritySpec",
]

MAX_GRADERS = 50

SingleGraderSpec = Annotated[
    StringCheckSpec
    | TextSimilaritySpec
    | MathSpec
    | JsonSchemaSpec
    | RegexSpec
    | FormatSpec
    | MajoritySpec
    | PythonSpec
    | CodeSpec
    | ScoreModelSpec
    | LabelModelSpec
    | RewardModelSpec
    | ProcessSpec
    | EndpointSpec,
    Field(discriminator="type"),
]


class MultiSpec(GraderBase):
    """A formula over the scores of other graders. The keys of `graders` are the formula's variables.

    Attributes:
        outcome: the grader among them that is the true outcome. In training, a group in which no completion has a
            positive true outcome gives no advantage: partial credit alone would teach to collect partial credit.
    """

    type: Literal["multi"]
    graders: Annotated[dict[str, SingleGraderSpec], Field(min_length=1, max_length=MAX_GRADERS)]
    calculate_output: str
    outcome: str | None = None

    @field_validator("graders")
    @classmethod
    def _usable_names(cls, graders: dict[str, SingleGraderSpec]) -> dict[str, SingleGraderSpec]:
        for name in graders:
            if not is_variable_name(name):
                raise ValueError(
                    f"{name!r} cannot be a variable of calculate_output; use letters, digits and underscores, begin "
                    f"with a letter, and avoid the functions {', '.join(FUNCTIONS)}"
                )
        return graders

    @field_validator("calculate_output")
    @classmethod
    def _known_variables(cls, text: str, info: ValidationInfo) -> str:
        formula = parse_formula(text)
        graders = info.data.get("graders")  # absent when `graders` itself was refused
        unknown = sorted(formula.variables - graders.keys()) if graders is not None else []
        if unknown:
            raise ValueError(f"unknown name {unknown[0]!r}; the graders are {', '.join(graders or ())}")
        return text

    @field_validator("outcome")
    @classmethod
    def _known_outcome(cls, name: str | None, info: ValidationInfo) -> str | None:
        graders = info.data.get("graders")
        if name is not None and graders is not None and name not in graders:
            raise ValueError(f"no grader is called {name!r}; the graders are {', '.join(graders)}")
        return name

    def templates(self) -> Iterator[str]:
        for grader in self.graders.values():
            yield from grader.templates()


GraderSpec = Annotated[
    StringCheckSpec
    | TextSimilaritySpec
    | MathSpec
    | JsonSchemaSpec
    | RegexSpec
    | FormatSpec
    | MajoritySpec
    | PythonSpec
    | CodeSpec
    | ScoreModelSpec
    | LabelModelSpec
    | RewardModelSpec
    | ProcessSpec
    | EndpointSpec
    | MultiSpec,
    Field(discriminator="type"),
]
