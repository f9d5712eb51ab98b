"""JSON as both the API and the dataset reader accept it: the standard, and nothing that breaks later layers."""

from __future__ import annotations

import json
import math
from typing import Any

MAX_DEPTH = 64


class StrictJSONError(ValueError):
    """`code` is stable and groups equal causes; the message says what was found."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def loads(text: str) -> Any:
    """Parse one JSON document.

    Raises:
        StrictJSONError: no JSON; NaN, Infinity or a number beyond a double's range; a key given twice; nested deeper
            than `MAX_DEPTH`; a null character or half a surrogate pair, which databases and tokenizers refuse.
    """
    try:
        value = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite_float, object_pairs_hook=_unique_keys
        )
    except StrictJSONError:
        raise
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise StrictJSONError("invalid_json", f"not valid JSON at {where}: {error.msg}") from None
    except RecursionError:
        raise StrictJSONError("nested_too_deep", _TOO_DEEP) from None
    except ValueError as error:  # an integer of more than 4300 digits
        raise StrictJSONError("number_out_of_range", f"a number is too large: {error}") from None
    _check_tree(value)
    return value


_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"


def _refuse_constant(name: str) -> Any:
    raise StrictJSONError("not_a_number", f"{name} is not a JSON value; use null or leave the field out")


def _finite_float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise StrictJSONError("number_out_of_range", f"the number {digits[:40]} does not fit a double")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise StrictJSONError("duplicate_key", f"the key {repeated[:100]!r} is given twice in one object")
    return result


def _check_tree(value: Any) -> None:
    """Walk without recursion, one level at a time."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return
        below: list[Any] = []
        for node in level:
            if isinstance(node, str):
                _check_text(node)
            elif isinstance(node, dict):
                for key in node:
                    _check_text(key)
                below.extend(node.values())
            elif isinstance(node, list):
                below.extend(node)
        level = below
    raise StrictJSONError("nested_too_deep", _TOO_DEEP)


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise StrictJSONError("null_character", "a string contains the null character \\u0000")
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise StrictJSONError(
            "unpaired_surrogate", "a string contains half of a surrogate pair (\\ud800 to \\udfff)"
        ) from None
