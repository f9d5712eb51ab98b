"""`json_schema`: is a JSON value valid under a schema? Draft 2020-12, by the package jsonschema, bounded.

Three things differ from that package's defaults, since the schema is a user's and the value a model's: patterns are
matched by RE2 in linear time, `uniqueItems` is checked by hashing instead of by comparing all pairs, and every
validation has a budget of steps, which a schema that refers to itself twice would exceed exponentially. `$ref` reaches
inside the schema only: nothing is fetched. `format` is an annotation, as the draft has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.exceptions import SchemaError
from jsonschema.validators import extend
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012, EMPTY_REGISTRY

from fettle_graders.errors import GradeFailure
from fettle_graders.regex import compile_pattern

MAX_SCHEMA_CHARS = 100_000
MAX_STEPS = 200_000
# They go through the schema once more, past the budget and with Python's regular expressions.
_REFUSED = frozenset({"unevaluatedProperties", "unevaluatedItems"})
_steps: ContextVar[list[int]] = ContextVar("steps")

Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]  # jsonschema's own types


def check_schema(schema: Any) -> None:
    """Raises ValueError: no JSON Schema of the draft, too large, a pattern RE2 cannot read, a `$ref` that leads out."""
    size = len(json.dumps(schema))
    if size > MAX_SCHEMA_CHARS:
        raise ValueError(f"the schema has {size} characters; at most {MAX_SCHEMA_CHARS}")
    try:
        # Without formats, of which `regex` would be Python's.
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(formats=()))
    except SchemaError as error:
        raise ValueError(f"not a JSON Schema (draft 2020-12): {error.json_path}: {error.message[:300]}") from error
    except RecursionError as error:
        raise ValueError("the schema is nested too deep") from error
    resolver = EMPTY_REGISTRY.resolver_with_root(DRAFT202012.create_resource(schema))
    for part in _objects(schema):
        for keyword in _REFUSED & part.keys():
            raise ValueError(f"{keyword} is not supported; list the properties or items that are allowed")
        for pattern in (part.get("pattern"), *part.get("patternProperties", ())):
            if isinstance(pattern, str):
                compile_pattern(pattern)
        if isinstance(part.get("$ref"), str):
            try:
                resolver.lookup(part["$ref"])
            except Unresolvable as error:
                raise ValueError(f"$ref {part['$ref']!r} leads nowhere in the schema; nothing is fetched") from error


def schema_checker(schema: Any) -> Callable[[Any], str | None]:
    """A function that says why a JSON value is not valid, with the place in the value; None when it is.

    The function raises GradeFailure with `other_error`: more than `MAX_STEPS` steps, or a recursion without end.
    """
    validator = _Validator(schema, registry=EMPTY_REGISTRY)

    def first_error(value: Any) -> str | None:
        token = _steps.set([MAX_STEPS])
        try:
            error = next(validator.iter_errors(value), None)
        except RecursionError as failure:
            raise GradeFailure("other_error", "the schema refers to itself without end") from failure
        finally:
            _steps.reset(token)
        return None if error is None else f"{error.json_path}: {error.message[:300]}"

    return first_error


def _counted(check: Keyword) -> Keyword:
    def keyword(validator: Any, setting: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        left = _steps.get()
        left[0] -= 1
        if left[0] < 0:
            raise GradeFailure("other_error", f"validating the answer takes more than {MAX_STEPS} steps")
        yield from check(validator, setting, instance, schema) or ()

    return keyword


def _pattern(validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and compile_pattern(pattern).search(instance) is None:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, subschema in patterns.items():
        for key, value in instance.items():
            if compile_pattern(pattern).search(key) is not None:
                yield from validator.descend(value, subschema, path=key, schema_path=pattern)


def _additional_properties(validator: Any, extra: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    patterns = [compile_pattern(pattern) for pattern in schema.get("patternProperties", {})]
    known = schema.get("properties", {})
    for key, value in instance.items():
        if key in known or any(pattern.search(key) is not None for pattern in patterns):
            continue
        if extra is False:
            yield ValidationError(f"additional property {key!r} is not allowed")
        else:
            yield from validator.descend(value, extra, path=key)


def _unique_items(validator: Any, wanted: bool, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if wanted and validator.is_type(instance, "array"):
        seen = {_canonical(entry) for entry in instance}
        if len(seen) < len(instance):
            yield ValidationError("the list has entries that are equal")


def _canonical(value: Any) -> str:
    """One text for each JSON value; 1 and 1.0 are one number, 1 and true are not one value."""

    def plain(value: Any) -> Any:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, Mapping):
            return {key: plain(entry) for key, entry in value.items()}
        return [plain(entry) for entry in value] if isinstance(value, list) else value

    return json.dumps(plain(value), sort_keys=True)


_Validator: Any = extend(
    Draft202012Validator,
    {
        name: _counted(check)
        for name, check in {
            **Draft202012Validator.VALIDATORS,
            "pattern": _pattern,
            "patternProperties": _pattern_properties,
            "additionalProperties": _additional_properties,
            "uniqueItems": _unique_items,
        }.items()
    },
)


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object in the schema. Those that are data (`const`, `enum`) are looked at too, which does no harm."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
        waiting += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
