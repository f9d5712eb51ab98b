"""Templates: text with `{{ item.path }}` and `{{ sample.path }}` references. No logic, no filters, one pass.

Text that was filled in is never looked at again, so a completion that contains `{{item.answer}}` stays literal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from fettle_graders.errors import CompletionFault, GradeFailure, TemplateSyntaxError
from fettle_graders.sample import Sample

Namespace = Literal["item", "sample"]
SAMPLE_TEXT_FIELDS = ("output_text", "output_reasoning")
SAMPLE_JSON_FIELDS = ("output_json", "output_tools", "choices")
SAMPLE_FIELDS = (*SAMPLE_TEXT_FIELDS, *SAMPLE_JSON_FIELDS)
MAX_TEMPLATE_CHARS = 100_000
MAX_RENDERED_CHARS = 1_000_000
MAX_PATH_PARTS = 50

# A bare key holds no white space and nothing that looks like an expression or a filter; `["any key"]` takes the rest.
_STEP = re.compile(r"""\.(?P<key>[^\s.\[\]{}()"'`|,;:=<>!&+*/\\]+)|\[(?P<index>\d{1,9})\]|\["(?P<quoted>[^"{}]*)"\]""")
_NAME = re.compile(r"[^\s.\[\]{}\"']*")


@dataclass(frozen=True)
class Reference:
    """One `{{ }}`: keys are strings, list positions are integers."""

    namespace: Namespace
    path: tuple[str | int, ...]

    def __str__(self) -> str:
        return self.namespace + "".join(_spell(part) for part in self.path)


@dataclass(frozen=True)
class Template:
    """A parsed template: literal text and references in their order."""

    parts: tuple[str | Reference, ...]

    @property
    def references(self) -> tuple[Reference, ...]:
        return tuple(part for part in self.parts if isinstance(part, Reference))

    def render(self, item: Mapping[str, Any], sample: Sample) -> str:
        """Fill in the references: strings as they are, everything else as JSON.

        Raises:
            GradeFailure: `invalid_variable_error` for a path that is not in the item, `other_error` for a text over
                the size limit.
            CompletionFault: `sample_parse_error` for `sample.output_json` of a text that is not JSON,
                `invalid_variable_error` for a path that is not in the completion.
        """
        return "".join(self.fill(item, sample))

    def fill(self, item: Mapping[str, Any], sample: Sample) -> tuple[str, ...]:
        """The text of each of `parts`. Raises as `render` does."""
        texts = tuple(
            part if isinstance(part, str) else _to_text(part, resolve(part, item, sample)) for part in self.parts
        )
        num_chars = sum(map(len, texts))
        if num_chars > MAX_RENDERED_CHARS:
            raise GradeFailure(
                "other_error", f"the filled-in template has {num_chars} characters; at most {MAX_RENDERED_CHARS}"
            )
        return texts


@lru_cache(maxsize=1024)
def parse_template(text: str) -> Template:
    """Read a template.

    Raises:
        TemplateSyntaxError: an unclosed `{{`, a namespace that is neither item nor sample, a field that `sample`
            does not have.
    """
    if len(text) > MAX_TEMPLATE_CHARS:
        raise TemplateSyntaxError(f"the template has {len(text)} characters; at most {MAX_TEMPLATE_CHARS}")
    parts: list[str | Reference] = []
    position = 0
    while (start := text.find("{{", position)) >= 0:
        end = text.find("}}", start + 2)
        if end < 0:
            raise TemplateSyntaxError(
                f"`{_shorten(text[start:])}` opens with {{{{ and is never closed; write {{{{ item.<field> }}}} or "
                "{{ sample.output_text }}, and a literal brace pair with a space between: { {"
            )
        if start > position:
            parts.append(text[position:start])
        parts.append(_parse_reference(text[start + 2 : end].strip()))
        position = end + 2
    if position < len(text):
        parts.append(text[position:])
    return Template(tuple(parts))


def resolve(reference: Reference, item: Mapping[str, Any], sample: Sample) -> Any:
    """The value a reference points at; a JSON value, hence `Any`.

    Raises:
        GradeFailure: as in `Template.render`.
    """
    value: Any = item if reference.namespace == "item" else _sample_field(reference, sample)
    for part in reference.path if reference.namespace == "item" else reference.path[1:]:
        if isinstance(part, str):
            is_there = isinstance(value, Mapping) and part in value
        else:
            is_there = isinstance(value, list | tuple) and part < len(value)
        if not is_there:
            fault = GradeFailure if reference.namespace == "item" else CompletionFault
            raise fault("invalid_variable_error", f"`{{{{{reference}}}}}`: {_missing(part, value)}")
        value = value[part]
    return value


def _parse_reference(expression: str) -> Reference:
    match = _NAME.match(expression)
    name = match.group() if match else ""
    if name not in ("item", "sample"):
        raise TemplateSyntaxError(
            f"`{{{{ {_shorten(expression)} }}}}` begins with {name!r}; a reference begins with item or sample, such as "
            "{{ item.answer }} or {{ sample.output_text }} (a literal brace pair: { {)"
        )
    path: list[str | int] = []
    position = len(name)
    while position < len(expression):
        step = _STEP.match(expression, position)
        if step is None or len(path) == MAX_PATH_PARTS:
            raise TemplateSyntaxError(
                f"`{{{{ {_shorten(expression)} }}}}` cannot be read from {_shorten(expression[position:])!r} on; "
                f'write a path of at most {MAX_PATH_PARTS} parts, such as item.a.b[0] or item["any key"]'
            )
        path.append(int(step["index"]) if step["index"] is not None else (step["key"] or step["quoted"] or ""))
        position = step.end()
    reference = Reference("item" if name == "item" else "sample", tuple(path))
    if name == "sample":
        _check_sample_path(reference)
    return reference


def _check_sample_path(reference: Reference) -> None:
    field = reference.path[0] if reference.path else None
    if field not in SAMPLE_FIELDS:
        raise TemplateSyntaxError(f"`{{{{ {reference} }}}}`: sample has the fields {', '.join(SAMPLE_FIELDS)}")
    if field in SAMPLE_TEXT_FIELDS and len(reference.path) > 1:
        raise TemplateSyntaxError(
            f"`{{{{ {reference} }}}}`: sample.{field} is text and has no parts; use sample.output_json for JSON output"
        )


def _sample_field(reference: Reference, sample: Sample) -> Any:
    field = reference.path[0]
    if field == "output_json":
        return sample.parsed_json()
    value = getattr(sample, str(field))
    if value is None and field == "output_tools":
        return []  # a completion that calls no tool is an answer, not an error
    if value is None:
        raise GradeFailure("invalid_variable_error", f"`{{{{{reference}}}}}`: this completion has no {field}")
    return value


def _to_text(reference: Reference, value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError) as error:  # over 4300 digits, no JSON value, nested too deep
        raise GradeFailure("other_error", f"`{{{{{reference}}}}}` cannot be written as JSON: {error}") from error


def _missing(part: str | int, value: Any) -> str:
    if isinstance(value, Mapping):
        known = ", ".join(map(str, list(value)[:10])) or "none"
        return f"no field {part!r}; fields found: {_shorten(known, 200)}"
    if isinstance(value, list | tuple):
        return f"no position {part!r}; the list has {len(value)} entries"
    return f"cannot look up {part!r} in a {type(value).__name__}"


def _spell(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if _STEP.fullmatch(f".{part}") else f'["{part}"]'


def _shorten(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
