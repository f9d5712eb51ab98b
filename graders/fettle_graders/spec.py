"""Grader definitions as they are on the wire: one frozen model a type, told apart by `type`.

`parse_grader` is the way in for anything a user wrote. It accepts every shape the wire knows, and what it returns is
canonical: `multi.graders` is a map, `neq` is `ne`, `name` is filled in. Templates and formulas are parsed here, so
that a definition that can never work is refused before it is stored.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from fettle_graders.errors import GradeFailure, GraderSpecError
from fettle_graders.kinds import (
    EndpointSpec,
    FormatSpec,
    GraderSpec,
    JsonSchemaSpec,
    LabelModelSpec,
    MajoritySpec,
    MathSpec,
    MultiSpec,
    ProcessSpec,
    PythonSpec,
    RegexSpec,
    RewardModelSpec,
    ScoreModelSpec,
    SingleGraderSpec,
    StringCheckSpec,
    TextSimilaritySpec,
)
from fettle_graders.sample import Sample
from fettle_graders.services import Service
from fettle_graders.template import Template, parse_template, resolve

__all__ = [
    "GRADER_TYPES",
    "EndpointSpec",
    "FormatSpec",
    "GraderSpec",
    "GraderSpecError",
    "JsonSchemaSpec",
    "LabelModelSpec",
    "MajoritySpec",
    "MathSpec",
    "MultiSpec",
    "ProcessSpec",
    "PythonSpec",
    "RegexSpec",
    "RewardModelSpec",
    "ScoreModelSpec",
    "StringCheckSpec",
    "TextSimilaritySpec",
    "item_paths",
    "masked",
    "missing_item_paths",
    "needed_service",
    "needs_group",
    "parse_grader",
    "templates",
    "unsupported",
]

MASK = "*" * 10
_SPEC: TypeAdapter[GraderSpec] = TypeAdapter(GraderSpec)
_FIELDS = {
    get_args(model.model_fields["type"].annotation)[0]: tuple(model.model_fields)
    for model in (*get_args(get_args(SingleGraderSpec)[0]), MultiSpec)
}
GRADER_TYPES = tuple(_FIELDS)


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


def unsupported(spec: GraderSpec, available: Collection[str]) -> str | None:
    """Why the grader cannot run where only these services are (`Services.available`), and what to use instead."""
    if isinstance(spec, MultiSpec):
        reasons = ((name, unsupported(grader, available)) for name, grader in spec.graders.items())
        return next((f"grader {name!r}: {reason}" for name, reason in reasons if reason), None)
    service = needed_service(spec)
    return None if service is None or service in available else _MISSING[service].format(type=spec.type)


def needs_group(spec: GraderSpec) -> bool:
    """Whether it compares the completions of a row with each other, so that one alone cannot be graded."""
    graders = spec.graders.values() if isinstance(spec, MultiSpec) else (spec,)
    return any(isinstance(grader, MajoritySpec) for grader in graders)


def needed_service(spec: GraderSpec) -> Service | None:
    """What a grader that is no multi needs from outside."""
    if isinstance(spec, TextSimilaritySpec):
        return "embedder" if spec.evaluation_metric == "cosine" else None
    return _NEEDS.get(spec.type)


_NEEDS: dict[str, Service] = {
    "python": "sandbox",
    "code": "sandbox",
    "score_model": "judge",
    "label_model": "judge",
    "endpoint": "http",
    "reward_model": "scorer",
    "process": "scorer",
}
_INSTEAD = "use string_check, text_similarity, math, or multi over these"
_MISSING: dict[Service, str] = {
    "sandbox": f"{{type}} graders need the code sandbox, which this installation does not have; {_INSTEAD}",
    "judge": f"{{type}} graders need a judge model, which this installation does not have; {_INSTEAD}",
    "http": f"{{type}} graders need outgoing calls, which this installation does not make; {_INSTEAD}",
    "embedder": (
        "text_similarity with the metric cosine needs an embedding model, which this installation does not have (pip "
        "install 'fettle-server[embeddings]') or has on its workers only; there, try it in a preflight, else use "
        "fuzzy_match, meteor or rouge_l"
    ),
    "scorer": (
        "{type} graders need a reward model of the operator's catalogue ([reward_models] of models.toml), which this "
        f"installation does not have or has on its workers only; there, try it in a preflight, else {_INSTEAD}"
    ),
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
