"""`string_check`: two texts compared exactly, code point by code point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Operation = Literal["eq", "ne", "like", "ilike"]

# `casefold` and not `lower`: it also makes "STRASSE" and "straße" the same.
_HOLDS: dict[Operation, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}


def check_string(text: str, reference: str, operation: Operation) -> float:
    """1.0 when the operation holds, else 0.0. Nothing is trimmed or normalized; any text contains an empty one."""
    return float(_HOLDS[operation](text, reference))
