"""`@fettle.grader`: what is sent is the function alone, and what cannot run alone is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

import fettle
from fettle import InvalidRequest
from fettle import graders as g

LIMIT = 5


@fettle.grader
def short(sample: dict[str, Any], item: dict[str, Any]) -> float:
    """Short answers are good."""
    import re

    return float(len(re.sub(r"\s", "", sample["output_text"])) < item.get("limit", 5))


@fettle.grader(name="nested")
def count(sample, item):
    def depth(value):
        return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0

    return float(depth(item["value"]))


@fettle.grader
def digits(sample, item):
    text = sample["output_text"]
    return 0.0 if not text else text[0].isdigit() + digits({"output_text": text[1:]}, item)


def alone(source: str) -> Any:
    scope: dict[str, Any] = {}
    exec(compile(source, "<grader>", "exec"), scope)
    return scope["grade"]


def test_a_decorated_function_is_a_python_grader_and_still_a_function() -> None:
    assert (short["type"], short["name"]) == ("python", "short")
    assert short({"output_text": "f o u r"}, {}) == 1.0
    assert short.__doc__ == "Short answers are good."
    assert "@fettle" not in short.source
    assert "def grade(sample: dict[str, Any]" in short.source  # annotations stay, and are not evaluated
    assert alone(short.source)({"output_text": "too long"}, {"limit": 3}) == 0.0
    assert g.multi(short=short, formula="short")["graders"]["short"]["source"] == short.source


def test_a_name_may_be_given_and_inner_functions_are_kept() -> None:
    assert count["name"] == "nested"
    assert alone(count.source)({}, {"value": [[1], [[2]]]}) == 3.0


def test_a_function_that_calls_itself_still_does_under_its_new_name() -> None:
    assert alone(digits.source)({"output_text": "a1b22"}, {}) == 3.0


def test_what_cannot_run_alone_is_refused_by_name() -> None:
    threshold = 3

    def closes(sample, item):
        return float(len(sample["output_text"]) < threshold)

    def reads_module(sample, item):
        return float(math.sqrt(4) < LIMIT)

    def three(sample, item, extra):
        return 1.0

    def default(sample, item=LIMIT):
        return 1.0

    async def later(sample, item):
        return 1.0

    for function, message in [
        (closes, "uses threshold of the function around it"),
        (reads_module, "uses LIMIT, math from outside"),
        (three, r"three\(sample, item, extra\) has to take exactly two"),
        (default, "uses LIMIT from outside"),
        (later, "asynchronous"),
        (lambda sample, item: 1.0, "written with `def`"),
        (len, "written with `def`"),
    ]:
        with pytest.raises(InvalidRequest, match=message):
            fettle.grader(function)
    with pytest.raises(InvalidRequest, match="cannot be read"):
        fettle.grader(alone("def grade(sample, item):\n    return 1.0"))


def test_the_same_rules_hold_for_functions_given_to_graders_python() -> None:
    with pytest.raises(InvalidRequest, match="uses LIMIT from outside"):
        g.python(lambda_free)
    assert g.python(short)["source"] == short.source


def lambda_free(sample, item):
    return float(LIMIT)


def test_it_is_checked_offline_in_the_sandbox() -> None:
    result = short.check("four")
    assert (result.reward, result.errors) == (1.0, {})
    assert count.check("x", {"value": [1]}).reward == 1.0
    failed = count.check("x", {})
    assert failed.reward == 0.0
    assert failed.errors["python_grader_runtime_error"] is True


def test_offline_without_the_server_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "fettle_graders.offline", None)
    with pytest.raises(InvalidRequest, match="pip install fettle-server"):
        short.check("x")


def test_a_grader_that_needs_a_judge_cannot_run_offline() -> None:
    from fettle.grader_function import check_offline

    with pytest.raises(InvalidRequest, match="cannot run here"):
        check_offline(g.score_model("m", "rate {{sample.output_text}}"), "x", {})
