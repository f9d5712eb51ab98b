"""Kinds that ask a judge model, and the messages they ask with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from fettle_graders.kinds.base import Frozen, GraderBase, Name, Number, TemplateText


class TextPart(Frozen):
    type: Literal["input_text", "output_text"]
    text: TemplateText


class ImagePart(Frozen):
    type: Literal["input_image"]
    image_url: TemplateText
    detail: Literal["low", "high", "auto"] | None = None


class AudioData(Frozen):
    data: str
    format: Literal["mp3", "wav"]


class AudioPart(Frozen):
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


class JudgeMessage(Frozen):
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


class SamplingParams(Frozen):
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


class _Judge(GraderBase):
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
