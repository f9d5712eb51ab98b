"""Graders as plain dictionaries, the shape the wire has.

    from fettle import graders as g
    exact = g.string_check("{{sample.output_text}}", "eq", "{{item.answer}}")
    grade = g.multi(exact=exact, short=g.python("short.py"), formula="0.9 * exact + 0.1 * short")

Names are checked here, offline; the server checks everything else (`client.fettle.graders.validate`).
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from fettle import grader_function
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
OUTPUT = "{{sample.output_text}}"
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


def math(reference: str, *, input: str = OUTPUT, name: str = "math") -> Grader:
    """1 when the boxed or final answer in `input` equals `reference` as mathematics, else 0. Fettle's own."""
    _templates(input=input, reference=reference)
    return {"type": "math", "name": name, "input": input, "reference": reference}


def json_schema(schema: Mapping[str, Any], *, input: str = OUTPUT, name: str = "json_schema") -> Grader:
    """1 when `input` is JSON that is valid under a JSON Schema (draft 2020-12), else 0. Fettle's own."""
    _templates(input=input)
    return {"type": "json_schema", "name": name, "input": input, "json_schema": dict(schema)}


def regex(
    pattern: str,
    *,
    reference: str | None = None,
    group: int | str | None = None,
    match: str = "search",
    input: str = OUTPUT,
    name: str = "regex",
) -> Grader:
    """1 when `input` matches the RE2 `pattern`, and what its group captured equals `reference` if given; else 0."""
    _one_of("match", match, ("search", "fullmatch"))
    _templates(input=input, reference=reference or "")
    grader: Grader = {"type": "regex", "name": name, "input": input, "pattern": pattern, "match": match}
    if reference is not None:
        grader["reference"] = reference
    return grader if group is None else {**grader, "group": group}


def format(
    *,
    thinking_tags: tuple[str, str] | None = None,
    boxed: bool = False,
    min_chars: int | None = None,
    max_chars: int | None = None,
    min_words: int | None = None,
    max_words: int | None = None,
    required: Sequence[str] = (),
    forbidden: Sequence[str] = (),
    input: str = OUTPUT,
    name: str = "format",
) -> Grader:
    """The share of its rules that `input` keeps. Fettle's own."""
    counts = {"min_chars": min_chars, "max_chars": max_chars, "min_words": min_words, "max_words": max_words}
    rules: Grader = {key: value for key, value in counts.items() if value is not None}
    rules |= {"thinking_tags": list(thinking_tags)} if thinking_tags else {}
    rules |= {"boxed": True} if boxed else {}
    rules |= {key: list(texts) for key, texts in (("required", required), ("forbidden", forbidden)) if texts}
    if not rules:
        raise InvalidRequest("format needs at least one rule, such as boxed=True or max_words=50")
    _templates(input=input)
    return {"type": "format", "name": name, "input": input, **rules}


def majority(
    *,
    answer: str = "math",
    canary: str | None = None,
    train_on: int | None = None,
    input: str = OUTPUT,
    name: str = "majority",
) -> Grader:
    """1 for answers that agree with most of the others to the same prompt: training without labels. Fettle's own.

    Args:
        answer: what is compared, `math` or `text`.
        canary: label of the rows that have one, such as `{{item.answer}}`: tells whether the vote is right.
        train_on: so many answers to a prompt train; the others vote only.
    """
    _one_of("answer", answer, ("math", "text"))
    _templates(input=input, canary=canary or "")
    grader: Grader = {"type": "majority", "name": name, "input": input, "answer": answer}
    grader |= {} if canary is None else {"canary": canary}
    return grader if train_on is None else {**grader, "train_on": train_on}


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


def code(
    tests: str | Sequence[Any] = "{{item.tests}}",
    *,
    input: str = OUTPUT,
    scoring: str = "share",
    timeout_s: float = 6.0,
    allow_weak_tests: bool = False,
    name: str = "code",
) -> Grader:
    """The share of tests that the Python program in `input` passes, or with `scoring="all"` 1 or 0. Fettle's own.

    Args:
        tests: `{"stdin", "stdout"}`, `{"call", "args", "expected"}`, or assertions; or a template that becomes them.
        timeout_s: of one test.
        allow_weak_tests: take assertions that can only run beside the program, which can make them pass.
    """
    _one_of("scoring", scoring, ("share", "all"))
    _templates(input=input, **({"tests": tests} if isinstance(tests, str) else {}))
    grader: Grader = {"type": "code", "name": name, "input": input, "scoring": scoring, "timeout_s": timeout_s}
    grader["tests"] = tests if isinstance(tests, str) else list(tests)
    return {**grader, "allow_weak_tests": True} if allow_weak_tests else grader


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


def reward_model(
    model: str,
    *,
    prompt: str = "{{item.messages}}",
    input: str = OUTPUT,
    activation: str = "sigmoid",
    name: str = "reward_model",
) -> Grader:
    """What an outcome reward model of the operator's catalogue says of the answer. Fettle's own."""
    _one_of("activation", activation, ("sigmoid", "none"))
    _templates(prompt=prompt, input=input)
    fields = {"model": model, "prompt": prompt, "input": input, "activation": activation}
    return {"type": "reward_model", "name": name, **fields}


def process(
    model: str,
    *,
    prompt: str = "{{item.messages}}",
    input: str = OUTPUT,
    aggregate: str = "min",
    name: str = "process",
) -> Grader:
    """What a process reward model says of each step, made one number by `aggregate`. Fettle's own."""
    _one_of("aggregate", aggregate, ("min", "product", "last"))
    _templates(prompt=prompt, input=input)
    return {"type": "process", "name": name, "model": model, "prompt": prompt, "input": input, "aggregate": aggregate}


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


def endpoint(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    rate_limit: float | None = None,
    name: str = "endpoint",
) -> Grader:
    """A service of your own: it is sent `{sample, item, trace_id}` and answers `{"score": number}`.

    Args:
        rate_limit: calls a second, at most.
    """
    if not re.match(r"https?://[^/\s]", url):
        raise InvalidRequest(f"the endpoint's URL has to begin with http:// or https:// and a host, found {url!r}")
    grader: Grader = {"type": "endpoint", "name": name, "url": url}
    if headers:
        grader["headers"] = dict(headers)
    if rate_limit is not None:
        if not rate_limit > 0:
            raise InvalidRequest(f"rate_limit is calls a second and has to be above 0, found {rate_limit}")
        grader["rate_limit"] = rate_limit
    return grader


def multi(
    graders: Mapping[str, Mapping[str, Any]] | None = None,
    /,
    *,
    formula: str,
    outcome: str | None = None,
    name: str = "multi",
    **named: Mapping[str, Any],
) -> Grader:
    """Several graders combined by `formula`, whose variables are their names.

    Pass them as keywords, or as a mapping where a name collides with `formula`, `outcome` or `name`.

    Args:
        outcome: the grader that is the true outcome: where none of a prompt's answers has a positive one, nothing is
            learned from their partial credit.
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
    if outcome is not None:
        _one_of("outcome", outcome, tuple(children))
    gate = {} if outcome is None else {"outcome": outcome}
    return {"type": "multi", "name": name, "graders": children, "calculate_output": formula, **gate}


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
    if isinstance(source, grader_function.LocalGrader):
        return source.source
    if callable(source):
        return grader_function.function_source(source)
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
