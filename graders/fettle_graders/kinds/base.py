"""What every kind's definition is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from fettle_graders.template import MAX_TEMPLATE_CHARS, parse_template


def _checked_template(text: str) -> str:
    parse_template(text)
    return text


TemplateText = Annotated[str, Field(max_length=MAX_TEMPLATE_CHARS), AfterValidator(_checked_template)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GraderBase(Frozen):
    name: Name

    @model_validator(mode="before")
    @classmethod
    def _default_name(cls, data: Any) -> Any:  # whatever the user sent
        if isinstance(data, Mapping) and not data.get("name") and isinstance(data.get("type"), str):
            return {**data, "name": data["type"]}
        return data

    def templates(self) -> Iterator[str]:
        """The template texts of this grader, in the order of its fields."""
        yield from ()
