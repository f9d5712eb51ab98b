"""One completion as graders see it."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from fettle_graders.errors import CompletionFault


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()


@dataclass(frozen=True)
class Sample:
    """One completion.

    Attributes:
        output_text: the answer, without the thinking.
        output_reasoning: the thinking, if the model thinks.
        output_json: the parsed answer; left out, `output_text` is parsed when a grader asks for it.
        output_tools: the message's tool calls; None reads as an empty list.
        choices: the whole list of choices of the chat completion.
    """

    output_text: str
    output_reasoning: str | None = None
    output_json: Any = UNSET  # any JSON value, and None is one
    output_tools: list[Any] | None = None
    choices: list[Any] | None = None

    def parsed_json(self) -> Any:
        """The answer as a JSON value.

        Raises:
            CompletionFault: `sample_parse_error`, the text is not JSON (RFC 8259: no NaN, no Infinity), or holds a
                number or a nesting that Python cannot hold.
        """
        return parse_json(self.output_text) if self.output_json is UNSET else self.output_json

    def to_json(self) -> dict[str, Any]:
        """The completion as code outside sees it; `output_json` only where the answer is JSON."""
        data: dict[str, Any] = {"output_text": self.output_text, "output_tools": self.output_tools or []}
        if self.output_reasoning is not None:
            data["output_reasoning"] = self.output_reasoning
        if self.choices is not None:
            data["choices"] = self.choices
        with suppress(CompletionFault):
            data["output_json"] = self.parsed_json()
        return data


def parse_json(text: str) -> Any:
    """A completion's text as a JSON value.

    Raises:
        CompletionFault: `sample_parse_error`, as `Sample.parsed_json`.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite_float)
    except (ValueError, RecursionError) as error:
        raise CompletionFault("sample_parse_error", f"the output {text[:60]!r} is not valid JSON: {error}") from error


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is out of range")
    return value
