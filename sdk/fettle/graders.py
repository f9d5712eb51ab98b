"""Graders as plain dictionaries, the shape the wire has.

    from fettle import graders as g
    exact = g.string_check("{{sample.output_text}}", "eq", "{{item.answer}}")
    grade = g.multi(exact=exact, short=g.python("short.py"), formula="0.9 * exact + 0.1 * short")

Names are checked here, offline; the server checks everything else (`client.fettle.graders.validate`).
"""

from __future__ import annotations

import difflib
import inspect
import json
import re
import textwrap
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from fettle.errors import InvalidRequest

Grader: TypeAlias = dict[str, Any]

OPERATIONS = ("eq", "ne", "like", "ilike")
METRICS = (
    "fuzzy_match",
    "bleu",
    "gleu",
    "meteor",
    "cosine",
    *(f"rouge_{n}" for n in range(1, 6)),
    "rouge_l",
)
FUNCTIONS = ("min", "max", "abs", "floor", "ceil", "exp", "sqrt", "log")

_TEMPLATE = re.compile(r"\{\{\s*([A-Za-z_]\w*)")
_NAME = re.compile(r"[A-Za-z_]\w*\Z")
_WORD = re.compile(r"(?<![\w.])[A-Za-z_]\w*")


def string_check(input: str, operation: str, reference: str, *, name: str = "string_check") -> Grader:
    """1 when `input` stands in `operation` to `reference`, else 0. `like` and `ilike` ask whether it contains it."""
    _one_of("operation", operation, OPERATIONS)
    _templates(input=input, reference=reference)
    return {"type": "string_check", "name": name, "operation": operation, "input": input, "reference": reference}


def text_similarity(
    input: str, reference: str, metric: str = "fuzzy_match", *, name: str = "text_similarity"
) -> Grader:
    """How alike two texts are, 0 to 1, by `metric`."""
    _one_of("metric", metric, METRICS)
    _templates(input=input, reference=reference)
    return {
        "type": "text_similarity",
        "name": name,
        "evaluation_metric": metric,
        "input": input,
        "reference": reference,
    }


def math(reference: str, *, input: str = "{{sample.output_text}}", name: str = "math") -> Grader:
    """1 when the boxed or final answer in `input` equals `reference` as mathematics, else 0. Fettle's own."""
    _templates(input=input, reference=reference)
    return {"type": "math", "name": name, "input": input, "reference": reference}


def python(source: str | Path | Callable[..., float], *, name: str = "python") -> Grader:
    """Your own `grade(sample, item) -> float`: its source, the path of a `.py` file, or the function itself.

    The function runs alone in a sandbox: imports and constants it needs belong inside it.
    """
    text = _source(source)
    try:
        compile(text, "<grader>", "exec")
    except SyntaxError as error:
        raise InvalidRequest(f"the grader's source does not parse: {error}") from error
    if not re.search(r"^def grade\s*\(", text, re.MULTILINE):
        raise InvalidRequest("the grader's source has no top-level function `grade(sample, item)`")
    return {"type": "python", "name": name, "source": text}


def score_model(
    model: str,
    input: str | Sequence[Mapping[str, Any]],
    *,
    range: tuple[float, float] | None = None,
    sampling_params: Mapping[str, Any] | None = None,
    name: str = "score_model",
) -> Grader:
    """A judge that answers with a number, clamped to `range` (0 to 1 unless given)."""
    grader: Grader = {"type": "score_model", "name": name, "model": model, "input": _judge_messages(input)}
    if range is not None:
        if not range[0] < range[1]:
            raise InvalidRequest(f"range must rise, found {list(range)}")
        grader["range"] = list(range)
    return {**grader, "sampling_params": dict(sampling_params)} if sampling_params else grader


def label_model(
    model: str,
    input: str | Sequence[Mapping[str, Any]],
    *,
    labels: Sequence[str],
    passing_labels: Sequence[str],
    name: str = "label_model",
) -> Grader:
    """A judge that picks one of `labels`; 1 when it is among `passing_labels`, else 0."""
    unknown = [label for label in passing_labels if label not in labels]
    if unknown:
        raise InvalidRequest(f"the passing label {unknown[0]!r} is not among the labels {list(labels)}")
    return {
        "type": "label_model",
        "name": name,
        "model": model,
        "input": _judge_messages(input),
        "labels": list(labels),
        "passing_labels": list(passing_labels),
    }


def multi(
    graders: Mapping[str, Mapping[str, Any]] | None = None,
    /,
    *,
    formula: str,
    name: str = "multi",
    **named: Mapping[str, Any],
) -> Grader:
    """Several graders combined by `formula`, whose variables are their names.

    Pass them as keywords, or as a mapping where a name collides with `formula` or `name`.
    """
    children = {key: {**child, "name": key} for key, child in {**(graders or {}), **named}.items()}
    if not children:
        raise InvalidRequest("multi needs at least one grader")
    for key, child in children.items():
        if not _NAME.match(key):
            raise InvalidRequest(f"{key!r} cannot be used in a formula; use letters, digits and underscores")
        if child.get("type") == "multi":
            raise InvalidRequest(f"{key!r} is itself a multi grader, and those do not nest")
    for word in _WORD.findall(formula):
        if word not in children and word not in FUNCTIONS and not re.fullmatch(r"[eE]\d*", word):
            raise InvalidRequest(f"the formula reads {word!r}, which is none of {sorted(children)}")
    return {"type": "multi", "name": name, "graders": children, "calculate_output": formula}


def from_file(path: str | Path) -> Grader:
    """A grader from `.json` or `.toml` (the wire's shape), or from `.py` (a function `grade`)."""
    file = Path(path)
    try:
        if file.suffix == ".py":
            return python(file, name=file.stem)
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"cannot read the grader {str(path)!r}: {error.strerror}") from error
    try:
        data = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"{path} is not valid {file.suffix[1:].upper() or 'JSON'}: {error}") from error
    inner = data.get("grader", data) if isinstance(data, dict) else data
    if not isinstance(inner, dict) or "type" not in inner:
        raise InvalidRequest(f"{path} holds no grader: expected an object with `type`")
    return inner


def load(grader: Mapping[str, Any] | str | Path) -> Grader:
    """A dictionary as it is; anything else is the path of a file."""
    return dict(grader) if isinstance(grader, Mapping) else from_file(grader)


def _source(source: str | Path | Callable[..., float]) -> str:
    if callable(source):
        text = textwrap.dedent(inspect.getsource(source))
        lines = text.splitlines(keepends=True)
        while lines and not lines[0].startswith(("def ", "async def ")):
            lines.pop(0)  # decorators
        return re.sub(r"^def \w+", "def grade", "".join(lines), count=1)
    if isinstance(source, Path) or (source.endswith(".py") and "\n" not in source):
        return Path(source).read_text(encoding="utf-8")
    return source


def _judge_messages(input: str | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    messages = [{"role": "user", "content": input}] if isinstance(input, str) else [dict(entry) for entry in input]
    for message in messages:
        if isinstance(message.get("content"), str):
            _templates(input=message["content"])
    return messages


def _templates(**texts: str) -> None:
    for param, text in texts.items():
        for namespace in _TEMPLATE.findall(text):
            if namespace not in ("item", "sample"):
                raise InvalidRequest(
                    f"{param} reads {{{{{namespace}...}}}}; templates know `item` (the row) and `sample` (the answer)"
                )


def _one_of(param: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(value, allowed, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(allowed)}"
        raise InvalidRequest(f"{param} {value!r} does not exist; {hint}")
