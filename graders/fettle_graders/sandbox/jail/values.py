"""Python values as JSON text that keeps their types, both ways. The host reads what a program returned with it.

Lists are lists; a tuple is `{"t": [...]}`, a set `{"s": [...]}`, a frozen one `{"f": [...]}`, a dict
`{"d": [[key, value], ...]}`, bytes `{"b": "00ff"}`, and anything else `{"o": "its type"}`, which equals nothing.
"""

from __future__ import annotations

import json
import sys
from typing import Any


class Opaque:
    """A value of a type that is not compared."""

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name

    def __repr__(self) -> str:
        return f"<a {self.type_name}>"


def dump(value: object) -> str:
    """Raises RecursionError: nested too deep; ValueError: a number of too many digits."""
    return json.dumps(_plain(value))


def load(text: str) -> Any:
    """The value, of built-in types only.

    Raises:
        ValueError: not the text of `dump`, or too deep or too long a number.
    """
    try:
        return _value(json.loads(text))
    except (RecursionError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a value: {type(error).__name__}") from None


def _plain(value: Any) -> Any:
    """By the value's real type, never by what it says or how it compares."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is list:
        return [_plain(entry) for entry in value]
    if kind is tuple:
        return {"t": [_plain(entry) for entry in value]}
    if kind in (set, frozenset):
        return {"s" if kind is set else "f": [_plain(entry) for entry in value]}
    if kind is dict:
        return {"d": [[_plain(key), _plain(entry)] for key, entry in value.items()]}
    if kind is bytes:
        return {"b": value.hex()}
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(kind, (numpy.generic, numpy.ndarray)):
        return _plain(value.tolist())
    for base in (bool, int, float, str, tuple, list, dict):  # a subclass counts for what it holds
        if issubclass(kind, base):
            return _plain(_held(value, base))
    return {"o": str(type.__dict__["__name__"].__get__(kind))[:100]}


def _held(value: Any, base: type) -> Any:
    match base.__name__:
        case "int":
            return int.__add__(value, 0)
        case "float":
            return float.__add__(value, 0.0)
        case "str":
            return str.__str__(value) if type(str.__str__(value)) is str else str.__getitem__(value, slice(None))
        case "tuple":
            return tuple(tuple.__iter__(value))
        case "list":
            return list(list.__iter__(value))
        case _:
            return dict(dict.items(value))


def _value(plain: Any) -> Any:
    if isinstance(plain, list):
        return [_value(entry) for entry in plain]
    if not isinstance(plain, dict):
        return plain
    ((kind, held),) = plain.items()
    match kind:
        case "t":
            return tuple(_value(entry) for entry in held)
        case "s":
            return {_value(entry) for entry in held}
        case "f":
            return frozenset(_value(entry) for entry in held)
        case "d":
            return {_value(key): _value(entry) for key, entry in held}
        case "b":
            return bytes.fromhex(held)
        case _:
            return Opaque(str(held))
