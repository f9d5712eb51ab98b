"""Small kinds of Fettle's own that say what an answer has to look like."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from fettle_graders.json_schema import check_schema
from fettle_graders.kinds.base import GraderBase, TemplateText
from fettle_graders.regex import MAX_PATTERN_CHARS, compile_pattern

OUTPUT = "{{sample.output_text}}"
MAX_STRINGS = 50


class JsonSchemaSpec(GraderBase):
    """1 if the answer is JSON that is valid under a JSON Schema (draft 2020-12), else 0."""

    type: Literal["json_schema"]
    input: TemplateText = OUTPUT
    json_schema: dict[str, Any] | bool

    @field_validator("json_schema")
    @classmethod
    def _usable(cls, schema: dict[str, Any] | bool) -> dict[str, Any] | bool:
        check_schema(schema)
        return schema

    def templates(self) -> Iterator[str]:
        yield self.input


class RegexSpec(GraderBase):
    """1 if the answer matches a pattern, and what its group captured equals the reference, else 0.

    Attributes:
        match: `search` finds the pattern anywhere, `fullmatch` wants it to be the whole text.
        reference: compared with what `group` captured; without it a match is enough.
        group: number or name; the first one unless given, and the whole match of a pattern without groups.
    """

    type: Literal["regex"]
    input: TemplateText = OUTPUT
    pattern: Annotated[str, Field(min_length=1, max_length=MAX_PATTERN_CHARS)]
    match: Literal["search", "fullmatch"] = "search"
    reference: TemplateText | None = None
    group: Annotated[int, Field(ge=0)] | str | None = None

    @field_validator("pattern")
    @classmethod
    def _linear(cls, pattern: str) -> str:
        compile_pattern(pattern)
        return pattern

    @model_validator(mode="after")
    def _known_group(self) -> Self:
        if self.group is not None:
            if self.reference is None:
                raise ValueError("group says what is compared with reference, which is missing")
            compiled = compile_pattern(self.pattern)
            if self.group not in compiled.groupindex and self.group not in range(compiled.groups + 1):
                names = ", ".join(compiled.groupindex) or "none"
                raise ValueError(
                    f"the pattern has no group {self.group!r}; it has {compiled.groups} groups, named: {names}"
                )
        return self

    def templates(self) -> Iterator[str]:
        yield self.input
        if self.reference is not None:
            yield self.reference


class MajoritySpec(GraderBase):
    """1 for answers that agree with the majority of their group, 0 for the others: training without labels.

    Attributes:
        answer: `math`: the boxed or final answer, equal as mathematics; `text`: equal words.
        canary: label of the rows that have one. It gives no reward; it tells whether the vote is right.
        train_on: so many completions of a group train; the others vote only. None: all.
    """

    type: Literal["majority"]
    input: TemplateText = OUTPUT
    answer: Literal["math", "text"] = "math"
    canary: TemplateText | None = None
    train_on: Annotated[int, Field(ge=2)] | None = None

    def templates(self) -> Iterator[str]:
        yield self.input  # `canary` is what only some rows have


Count = Annotated[int, Field(ge=0)]


class FormatSpec(GraderBase):
    r"""The share of its rules that the answer keeps; each field that is set is a rule, and so is each text in a list.

    Attributes:
        thinking_tags: an opening and a closing tag, each once, in this order, with something between and after them.
            For models whose thinking is told apart by its tokens, thinking that has ended keeps the rule.
        boxed: a closed `\boxed{}` that is not empty.
        required, forbidden: texts that have to be in the answer, or must not be.
    """

    type: Literal["format"]
    input: TemplateText = OUTPUT
    thinking_tags: tuple[Annotated[str, Field(min_length=1)], Annotated[str, Field(min_length=1)]] | None = None
    boxed: Literal[True] | None = None
    min_chars: Count | None = None
    max_chars: Count | None = None
    min_words: Count | None = None
    max_words: Count | None = None
    required: Annotated[tuple[TemplateText, ...], Field(max_length=MAX_STRINGS)] = ()
    forbidden: Annotated[tuple[TemplateText, ...], Field(max_length=MAX_STRINGS)] = ()

    @model_validator(mode="after")
    def _some_rule(self) -> Self:
        rules = (self.thinking_tags, self.boxed, self.min_chars, self.max_chars, self.min_words, self.max_words)
        if all(rule is None for rule in rules) and not self.required and not self.forbidden:
            raise ValueError(
                "no rule: set one of thinking_tags, boxed, min_chars, max_chars, min_words, max_words, required, "
                "forbidden"
            )
        for unit in ("chars", "words"):
            least, most = getattr(self, f"min_{unit}"), getattr(self, f"max_{unit}")
            if least is not None and most is not None and least > most:
                raise ValueError(f"min_{unit} is {least} and max_{unit} is {most}: no answer keeps both")
        return self

    def templates(self) -> Iterator[str]:
        yield from (self.input, *self.required, *self.forbidden)
