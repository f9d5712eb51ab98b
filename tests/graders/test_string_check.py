from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("operation", "text", "reference", "expected"),
    [
        ("eq", "Paris", "Paris", 1.0),
        ("eq", "paris", "Paris", 0.0),
        ("eq", "Paris ", "Paris", 0.0),  # nothing is trimmed
        ("eq", "", "", 1.0),
        ("eq", "caf\u00e9", "cafe\u0301", 0.0),  # nor normalized
        ("ne", "a", "b", 1.0),
        ("ne", "a", "a", 0.0),
        ("neq", "a", "b", 1.0),
        ("like", "The answer is Paris.", "Paris", 1.0),
        ("like", "The answer is paris.", "Paris", 0.0),
        ("like", "Paris", "The answer is Paris.", 0.0),
        ("like", "any", "", 1.0),
        ("ilike", "the answer is PARIS", "Paris", 1.0),
        ("ilike", "STRASSE", "straße", 1.0),
        ("ilike", "Rome", "Paris", 0.0),
    ],
)
def test_operations(grade, operation: str, text: str, reference: str, expected: float) -> None:
    spec = {
        "type": "string_check",
        "input": "{{sample.output_text}}",
        "reference": "{{item.ref}}",
        "operation": operation,
    }
    assert grade(spec, {"ref": reference}, text).score == expected
