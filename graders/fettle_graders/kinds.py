"""One frozen model a grader type, with the fields the wire has. Users' input comes in through `spec.parse_grader`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from fettle_graders.formula import FUNCTIONS, is_variable_name, parse_formula
from fettle_graders.template import MAX_TEMPLATE_CHARS, parse_template

MAX_SOURCE_BYTES = 256 * 1024
MAX_GRADERS = 50


def _checked_template(text: str) -> str:
    parse_template(text)
    return text


TemplateText = Annotated[str, Field(max_length=MAX_TEMPLATE_CHARS), AfterValidator(_checked_template)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Grader(_Frozen):
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


class StringCheckSpec(_Grader):
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


class TextSimilaritySpec(_Grader):
    """How close two texts are, from 0 to 1."""

    type: Literal["text_similarity"]
    input: TemplateText
    reference: TemplateText
    evaluation_metric: TextMetric
    pass_threshold: Number | None = None

    def templates(self) -> Iterator[str]:
        yield from (self.input, self.reference)


class MathSpec(_Grader):
    """1 if the boxed or final answer in `input` equals the one in `reference` as mathematics, else 0. Fettle's own."""

    type: Literal["math"]
    input: TemplateText = "{{sample.output_text}}"
    reference: TemplateText

    def templates(self) -> Iterator[str]:
        yield from (self.input, self.reference)


class PythonSpec(_Grader):
    """The user's `grade(sample, item)`."""

    type: Literal["python"]
    source: str
    image_tag: str | None = None
    pass_threshold: Number | None = None

    @field_validator("source")
    @classmethod
    def _limit_source(cls, source: str) -> str:
        num_bytes = len(source.encode("utf-8", "replace"))
        if num_bytes >= MAX_SOURCE_BYTES:
            raise ValueError(f"the source has {num_bytes} bytes; it must be smaller than {MAX_SOURCE_BYTES}")
        return source


class TextPart(_Frozen):
    type: Literal["input_text", "output_text"]
    text: TemplateText


class ImagePart(_Frozen):
    type: Literal["input_image"]
    image_url: TemplateText
    detail: Literal["low", "high", "auto"] | None = None


class AudioData(_Frozen):
    data: str
    format: Literal["mp3", "wav"]


class AudioPart(_Frozen):
    type: Literal["input_audio"]
    input_audio: AudioData


JudgePart = Annotated[TextPart | ImagePart | AudioPart, Field(discriminator="type")]


def _content_shape(content: Any) -> str:  # whatever the user sent
    if isinstance(content, str):
        return "text"
    return "list" if isinstance(content, list | tuple) else "part"


JudgeEntry = Annotated[
    Annotated[TemplateText, Tag("text")] | Annotated[JudgePart, Tag("part")], Discriminator(_content_shape)
]
JudgeContent = Annotated[
    Annotated[TemplateText, Tag("text")]
    | Annotated[JudgePart, Tag("part")]
    | Annotated[tuple[JudgeEntry, ...], Tag("list")],
    Discriminator(_content_shape),
]


class JudgeMessage(_Frozen):
    """One message of a judge's prompt."""

    role: Literal["user", "assistant", "system", "developer"]
    type: Literal["message"] | None = None
    content: JudgeContent

    def templates(self) -> Iterator[str]:
        for entry in self.content if isinstance(self.content, tuple) else (self.content,):
            if isinstance(entry, str):
                yield entry
            elif isinstance(entry, TextPart):
                yield entry.text
            elif isinstance(entry, ImagePart):
                yield entry.image_url


class SamplingParams(_Frozen):
    seed: int | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_completions_tokens: Annotated[int, Field(ge=1)] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _accept_singular(cls, data: Any) -> Any:  # whatever the user sent
        if isinstance(data, Mapping) and "max_completion_tokens" in data and "max_completions_tokens" not in data:
            data = dict(data)
            data["max_completions_tokens"] = data.pop("max_completion_tokens")
        return data


class _Judge(_Grader):
    model: Annotated[str, Field(min_length=1)]
    input: Annotated[tuple[JudgeMessage, ...], Field(min_length=1)]
    sampling_params: SamplingParams | None = None

    def templates(self) -> Iterator[str]:
        for message in self.input:
            yield from message.templates()


class ScoreModelSpec(_Judge):
    """A judge model's number, clamped to `range`."""

    type: Literal["score_model"]
    range: tuple[Number, Number] | None = Field(default=None, description="lowest and highest score; None is [0, 1]")
    pass_threshold: Number | None = None

    @field_validator("range")
    @classmethod
    def _ordered(cls, range_: tuple[float, float] | None) -> tuple[float, float] | None:
        if range_ is not None and range_[0] >= range_[1]:
            raise ValueError(f"the first number must be smaller than the second, found {list(range_)}")
        return range_


class LabelModelSpec(_Judge):
    """1 if the label a judge model chooses is among `passing_labels`, else 0."""

    type: Literal["label_model"]
    labels: Annotated[tuple[Name, ...], Field(min_length=1)]
    passing_labels: Annotated[tuple[Name, ...], Field(min_length=1)]

    @field_validator("passing_labels")
    @classmethod
    def _known_labels(cls, passing: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        labels = info.data.get("labels", passing)  # absent when `labels` itself was refused
        unknown = [label for label in passing if label not in labels]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not one of labels: {', '.join(labels)}")
        return passing


class EndpointSpec(_Grader):
    """The score a remote HTTP service answers. Header values are secrets: show a spec only through `masked`."""

    type: Literal["endpoint"]
    url: Annotated[str, Field(max_length=2048)]
    headers: dict[str, str] | None = Field(default=None, repr=False)
    rate_limit: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    pass_threshold: Number | None = None

    @field_validator("url")
    @classmethod
    def _http_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected an absolute http:// or https:// URL")
        if parts.username or parts.password:
            raise ValueError("the URL carries a user name or password; send credentials in headers instead")
        return url

    @field_validator("headers")
    @classmethod
    def _clean_headers(cls, headers: dict[str, str] | None) -> dict[str, str] | None:
        for name, value in (headers or {}).items():
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
                raise ValueError(f"{name!r} is not the name of an HTTP header")
            if re.search(r"[\r\n\0]", value):
                raise ValueError(f"the value of {name!r} contains a line break")
        return headers


SingleGraderSpec = Annotated[
    StringCheckSpec | TextSimilaritySpec | MathSpec | PythonSpec | ScoreModelSpec | LabelModelSpec | EndpointSpec,
    Field(discriminator="type"),
]


class MultiSpec(_Grader):
    """A formula over the scores of other graders. The keys of `graders` are the formula's variables."""

    type: Literal["multi"]
    graders: Annotated[dict[str, SingleGraderSpec], Field(min_length=1, max_length=MAX_GRADERS)]
    calculate_output: str

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

    def templates(self) -> Iterator[str]:
        for grader in self.graders.values():
            yield from grader.templates()


GraderSpec = Annotated[
    StringCheckSpec
    | TextSimilaritySpec
    | MathSpec
    | PythonSpec
    | ScoreModelSpec
    | LabelModelSpec
    | EndpointSpec
    | MultiSpec,
    Field(discriminator="type"),
]
