"""Kinds that compare two filled-in templates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator

from fettle_graders.kinds.base import GraderBase, Number, TemplateText


class StringCheckSpec(GraderBase):
    """1 or 0 by comparing two texts exactly. `like`: the reference is contained; `ilike`: in any case."""

    type: Literal["string_check"]
    input: TemplateText
    reference: TemplateText
    operation: Annotated[
        Literal["eq", "ne", "like", "ilike"], BeforeValidator(lambda value: "ne" if value == "neq" else value)
    ]

    def templates(self) -> Iterator[str]:
        yield from (self.input, self.reference)


TextMetric = Literal[
    "fuzzy_match",
    "bleu",
    "gleu",
    "meteor",
    "cosine",
    "rouge_1",
    "rouge_2",
    "rouge_3",
    "rouge_4",
    "rouge_5",
    "rouge_l",
]


class TextSimilaritySpec(GraderBase):
    """How close two texts are, from 0 to 1."""

    type: Literal["text_similarity"]
    input: TemplateText
    reference: TemplateText
    evaluation_metric: TextMetric
    pass_threshold: Number | None = None

    def templates(self) -> Iterator[str]:
        yield from (self.input, self.reference)


class MathSpec(GraderBase):
    """1 if the boxed or final answer in `input` equals the one in `reference` as mathematics, else 0. Fettle's own."""

    type: Literal["math"]
    input: TemplateText = "{{sample.output_text}}"
    reference: TemplateText

    def templates(self) -> Iterator[str]:
        yield from (self.input, self.reference)
