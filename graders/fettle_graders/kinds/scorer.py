"""Kinds that ask a reward model: one number for a text, from the head of a sequence-classification model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from fettle_graders.kinds.base import GraderBase, Name, TemplateText


class _Scored(GraderBase):
    """The model reads the prompt, a blank line, and what is judged.

    Attributes:
        model: a name in the operator's catalogue of reward models.
    """

    model: Name
    prompt: TemplateText = "{{item.messages}}"
    input: TemplateText = "{{sample.output_text}}"

    def templates(self) -> Iterator[str]:
        yield from (self.prompt, self.input)


class RewardModelSpec(_Scored):
    """What an outcome reward model says of the whole answer; `sigmoid` brings it between 0 and 1."""

    type: Literal["reward_model"]
    activation: Literal["sigmoid", "none"] = "sigmoid"


class ProcessSpec(_Scored):
    """What a process reward model says of each step, made one number. Steps are separated by blank lines.

    The score of a step is the sigmoid of what the model says of the text up to its end.
    """

    type: Literal["process"]
    aggregate: Literal["min", "product", "last"] = "min"
    max_steps: Annotated[int, Field(ge=1, le=256)] = 64
