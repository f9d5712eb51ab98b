"""Grader definitions as they are on the wire: one frozen model a type, told apart by `type`.

`parse_grader` is the way in for anything a user wrote. It accepts every shape the wire knows, and what it returns is
canonical: `multi.graders` is a map, `neq` is `ne`, `name` is filled in. Templates and formulas are parsed here, so
that a definition that can never work is refused before it is stored.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from fettle_graders.errors import GradeFailure, GraderSpecError
from fettle_graders.formula import FUNCTIONS, is_variable_name, parse_formula
from fettle_graders.sample import Sample
from fettle_graders.template import MAX_TEMPLATE_CHARS, Template, parse_template, resolve

MAX_SOURCE_BYTES = 256 * 1024
MAX_GRADERS = 50
MASK = "*" * 10


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

GRADER_TYPES = ("string_check", "text_similarity", "math", "python", "score_model", "label_model", "endpoint", "multi")
_SPEC: TypeAdapter[GraderSpec] = TypeAdapter(GraderSpec)
_FIELDS = {
    get_args(model.model_fields["type"].annotation)[0]: tuple(model.model_fields)
    for model in (*get_args(get_args(SingleGraderSpec)[0]), MultiSpec)
}


def parse_grader(data: Any) -> GraderSpec:
    """Read a grader as a user wrote it: any JSON value, hence `Any`.

    Raises:
        GraderSpecError: the first thing that is wrong, with the path of its field inside the grader.
    """
    normal = _normalised(data)
    try:
        return _SPEC.validate_python(normal)
    except ValidationError as error:
        raise _spec_error(error, normal) from error
    except RecursionError as error:
        raise GraderSpecError("", "the grader is nested too deep") from error


def masked(spec: GraderSpec) -> dict[str, Any]:
    """The definition as it may be shown: header values of endpoint graders replaced by ten asterisks."""
    echo: dict[str, Any] = spec.model_dump(mode="json", exclude_none=True)
    for grader in echo["graders"].values() if isinstance(spec, MultiSpec) else [echo]:
        if "headers" in grader:
            grader["headers"] = dict.fromkeys(grader["headers"], MASK)
    return echo


def unsupported(spec: GraderSpec) -> str | None:
    """Why this installation cannot run the grader and what to use instead; None when it can."""
    if isinstance(spec, MultiSpec):
        reasons = ((name, unsupported(grader)) for name, grader in spec.graders.items())
        return next((f"grader {name!r}: {reason}" for name, reason in reasons if reason), None)
    if isinstance(spec, TextSimilaritySpec) and spec.evaluation_metric == "cosine":
        return (
            "text_similarity with the metric cosine needs an embedding model, which this installation does not have; "
            "use fuzzy_match, meteor or rouge_l"
        )
    return _UNSUPPORTED.get(spec.type)


_INSTEAD = "use string_check, text_similarity, math, or multi over these"
_UNSUPPORTED = {
    "python": f"python graders need the code sandbox, which this installation does not have; {_INSTEAD}",
    "score_model": f"score_model graders need a judge model, which this installation does not have; {_INSTEAD}",
    "label_model": f"label_model graders need a judge model, which this installation does not have; {_INSTEAD}",
    "endpoint": f"endpoint graders need outgoing calls, which this installation does not make; {_INSTEAD}",
}


def templates(spec: GraderSpec) -> tuple[Template, ...]:
    """Every template of the grader, and of the graders inside it."""
    return tuple(parse_template(text) for text in spec.templates())


def item_paths(spec: GraderSpec) -> list[str]:
    """What the grader's templates read from a dataset row, such as `item.answer`: sorted, each once."""
    references = {reference for template in templates(spec) for reference in template.references}
    return sorted(str(reference) for reference in references if reference.namespace == "item")


def missing_item_paths(spec: GraderSpec, item: Mapping[str, Any]) -> list[str]:
    """Those of `item_paths` that this row does not have."""
    missing = set()
    for reference in (reference for template in templates(spec) for reference in template.references):
        if reference.namespace == "item":
            try:
                resolve(reference, item, Sample(""))
            except GradeFailure:
                missing.add(str(reference))
    return sorted(missing)


def _normalised(data: Any) -> Any:
    """Bring the shapes of `multi.graders` that clients send into the canonical map."""
    _check_type("", data)
    if data["type"] != "multi" or "graders" not in data:
        return data
    graders = data["graders"]
    if isinstance(graders, Mapping) and isinstance(graders.get("type"), str):
        graders = [graders]
    if isinstance(graders, list | tuple):
        graders = _keyed(graders)
    if not isinstance(graders, Mapping):
        raise GraderSpecError(
            "graders", f'expected a map such as {{"ok": {{"type": "string_check", ...}}}}, found {_show(graders)}'
        )
    for name, grader in graders.items():
        _check_type(f"graders.{name}", grader)
        if grader["type"] == "multi":
            raise GraderSpecError(f"graders.{name}.type", "a multi grader cannot hold another multi grader")
    return {**data, "graders": {key: {**grader, "name": grader.get("name") or key} for key, grader in graders.items()}}


def _keyed(graders: list[Any] | tuple[Any, ...]) -> dict[str, Any]:
    keyed: dict[str, Any] = {}
    for position, grader in enumerate(graders):
        _check_type(f"graders.{position}", grader)
        name = grader.get("name")
        if not isinstance(name, str) or not name:
            raise GraderSpecError(
                f"graders.{position}.name", f"expected a name, by which calculate_output uses it; found {_show(name)}"
            )
        if name in keyed:
            raise GraderSpecError(f"graders.{position}.name", f"two graders are called {name!r}")
        keyed[name] = grader
    return keyed


def _check_type(path: str, data: Any) -> None:
    if not isinstance(data, Mapping):
        raise GraderSpecError(path, f"expected an object with a type, found {_show(data)}")
    kind = data.get("type")
    if kind in _FIELDS if isinstance(kind, str) else False:
        return
    close = difflib.get_close_matches(kind, GRADER_TYPES, n=1) if isinstance(kind, str) else []
    hint = f"; did you mean {close[0]}?" if close else ""
    found = _show(kind) if "type" in data else "nothing"
    raise GraderSpecError(f"{path}.type".lstrip("."), f"found {found}, expected one of {', '.join(GRADER_TYPES)}{hint}")


def _spec_error(error: ValidationError, data: Any) -> GraderSpecError:
    first = error.errors(include_url=False)[0]
    path, owner = _real_path(first["loc"], data, is_missing=first["type"] == "missing")
    param = ".".join(map(str, path))
    if first["type"] == "missing":
        return GraderSpecError(param, "this field is required")
    if first["type"] == "extra_forbidden":
        fields = _FIELDS.get(owner.get("type"), ()) if isinstance(owner, Mapping) else ()
        known = f"; {owner['type']} has {', '.join(fields)}" if fields else ""
        return GraderSpecError(param, f"unknown field{known}")
    message = first["msg"].removeprefix("Value error, ")
    # Header values are secrets, and what a validator of ours says needs no repetition.
    show_found = first["type"] != "value_error" and "headers" not in path
    return GraderSpecError(param, f"{message}; found {_show(first['input'])}" if show_found else message)


def _real_path(location: tuple[str | int, ...], data: Any, *, is_missing: bool) -> tuple[list[str | int], Any]:
    """The location without the names of union members that pydantic puts in, and the object that has the field."""
    path: list[str | int] = []
    owner = data
    for index, part in enumerate(location):
        inside = isinstance(data, Mapping) and part in data
        inside = inside or (isinstance(data, list | tuple) and isinstance(part, int) and part < len(data))
        if inside:
            owner, data = data, data[part]
            path.append(part)
        elif is_missing and index == len(location) - 1:
            path.append(part)
    return path, owner


def _show(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:79] + "…"
