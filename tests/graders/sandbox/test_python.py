"""What a grader may rely on: its arguments, its imports, its answers and its messages."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fettle_graders.sandbox.failure import CodeFailure
from fettle_graders.sandbox.pool import Sandbox

pytestmark = pytest.mark.timeout(60)


def test_a_grader_reads_the_completion_and_the_row(grade) -> None:
    source = """
def grade(sample, item):
    assert sample["output_text"] == '{"x": 3}' and sample["output_tools"] == [] and sample["choices"] == []
    return sample["output_json"]["x"] / item["of"]
"""
    found = grade(source, '{"x": 3}', item={"of": 4})
    assert found.score == 0.75, found.message
    assert found.notes["sandbox"]["tier"] in ("namespaces", "lockdown")


@pytest.mark.parametrize("text", ["no JSON", "[" * 100_000, "9" * 5000, "\ud800", "", "\0"])
def test_no_completion_is_too_odd(grade, text: str) -> None:
    source = "def grade(sample, item): return len(sample['output_text']) + (sample['output_json'] is not None) / 2"
    assert grade(source, text).score == len(text)


@pytest.mark.parametrize(
    ("returned", "score"),
    [
        ("1", 1.0),
        ("0.25", 0.25),
        ("1 == 1", 1.0),
        ("False", 0.0),
        ("-3", -3.0),
        ("__import__('numpy').float32(0.5)", 0.5),
        ("__import__('numpy').int64(7)", 7.0),
        ("__import__('numpy').bool_(True)", 1.0),
        ("type('F', (float,), {'__float__': lambda s: 9.0, '__eq__': lambda s, o: True})(0.5)", 0.5),
        ("type('I', (int,), {'__int__': lambda s: 9, '__float__': lambda s: 9.0})(2)", 2.0),
    ],
)
def test_numbers_are_taken_for_what_they_are(grade, returned: str, score: float) -> None:
    assert grade(f"def grade(sample, item): return {returned}").score == score


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        ("None", "a NoneType"),
        ("'1'", "a str"),
        ("[1]", "a list"),
        ("1j", "a complex"),
        ("__import__('decimal').Decimal(1)", "a Decimal"),
        ("__import__('numpy').array([1.0])", "a ndarray"),
        ("type('X', (), {'__float__': lambda s: 1.0, '__class__': float})()", "a X"),
        ("float('nan')", "nan"),
        ("float('-inf')", "-inf"),
        ("__import__('numpy').float64('inf')", "inf"),
        ("10 ** 400", "too large"),
        ("type('F', (float,), {})('nan')", "nan"),
    ],
)
def test_anything_else_is_no_score(grade, returned: str, found: str) -> None:
    graded = grade(f"def grade(sample, item): return {returned}")
    assert graded.score is None
    assert graded.errors.raised() == ("python_grader_runtime_error",)
    assert graded.message.startswith("invalid_return: ")
    assert found in graded.message


def test_an_exception_is_told_with_its_line(grade) -> None:
    graded = grade("def half(x):\n    return 1 / x\n\ndef grade(sample, item):\n    return half(0)\n")
    assert graded.message == "exception: line 2, in half: ZeroDivisionError: division by zero"
    assert graded.errors.python_grader_runtime_error_details == graded.message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def grade(sample, item)\n    return 1", "line 1: SyntaxError: expected ':'"),
        ("x = 1", "no function grade"),
        ("grade = 3", "no function grade"),
        ("def grade(sample): return 1", r"grade(sample) cannot be called with two"),
        ("def grade(sample, item, *, key): return 1", "missing a required argument: 'key'"),
        ("async def grade(sample, item): return 1", "grade is async"),
        ("import scypi\ndef grade(sample, item): return 1", "No module named 'scypi'; the package is not installed"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("1 / 0", "line 1, in <module>: ZeroDivisionError"),
        ("import os\nos._exit(0)", "ended with status 0"),
        ("(" * 3000, "SyntaxError"),
        ("x = " + "-" * 50_000 + "1", "does not load"),
    ],
)
def test_a_source_that_does_not_load_says_why(sandbox: Sandbox, source: str, message: str) -> None:
    with pytest.raises(CodeFailure, match="does not load") as refused:
        sandbox.check_source("org", source)
    assert refused.value.code == "load_error"
    assert message in refused.value.message


def test_a_source_that_never_ends_loading_is_stopped(sandbox: Sandbox) -> None:
    hurry = replace(sandbox.limits, load_s=1.0)
    with Sandbox(tiers=(sandbox.require(),), limits=hurry) as one, pytest.raises(CodeFailure, match="longer than 1 s"):
        one.check_source("org", "while True: pass")


def test_what_is_printed_is_kept_up_to_8_kib(grade) -> None:
    source = "import sys\nprint('load')\ndef grade(sample, item):\n    print('é' * 100_000)\n    return 1"
    assert grade(source).notes["output"] == "é" * 4096
    failing = "def grade(sample, item):\n    print('so far')\n    return 1 / 0"
    assert grade(failing).notes["output"] == "so far\n"


def test_the_usual_packages_and_ways_work(grade) -> None:
    source = """
import asyncio, collections, concurrent.futures, datetime, math, re, sqlite3, statistics, zoneinfo
import numpy, pydantic, rapidfuzz, sympy, jsonschema, yaml, sqlparse

def grade(sample, item):
    assert asyncio.run(asyncio.sleep(0, 5)) == 5
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(abs, [-1, -2])) == [1, 2]
    assert sqlite3.connect(":memory:").execute("select 2 + 2").fetchone() == (4,)
    assert zoneinfo.ZoneInfo("Europe/Paris")
    assert numpy.linalg.inv(numpy.eye(3)).sum() == 3
    assert sympy.simplify("sin(x)**2 + cos(x)**2") == 1
    import xml.dom.minidom
    return rapidfuzz.fuzz.ratio("kitten", "sitting") / 100
"""
    found = grade(source)
    assert found.score == pytest.approx(8 / 13), found.message


def test_each_call_starts_from_the_same_random_state_and_settings(grade) -> None:
    source = """
import decimal, os, random, signal, sys
def grade(sample, item):
    seen = (sys.getrecursionlimit() < 5000) + (decimal.getcontext().prec == 28) + (os.getcwd() == "/")
    seen += signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    sys.setrecursionlimit(9000); decimal.getcontext().prec = 3; signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return seen + random.random()
"""
    scores = {grade(source).score for _ in range(3)}
    assert len(scores) == 1
    assert 4 <= scores.pop() < 5


def test_module_state_is_shared_by_the_calls_of_one_grader_only(grade) -> None:
    source = "n = [0]\ndef grade(sample, item):\n    n[0] += 1\n    return n[0]\n"
    assert [grade(source).score, grade(source).score] == [1.0, 2.0]
    assert grade(source, organization="another").score == 1.0  # the same source, somebody else's worker
    assert grade(source + "# a new version").score == 1.0


def test_a_row_of_eight_megabytes_is_refused_before_it_is_sent(grade) -> None:
    graded = grade("def grade(sample, item): return 1", item={"x": "y" * (8 * 1024**2)})
    assert graded.score is None
    assert "at most 8388608" in graded.message


def test_the_status_says_which_tier_runs_and_why(sandbox: Sandbox) -> None:
    status = json.loads(json.dumps(sandbox.status()))
    assert status["available"] is True
    assert status["reasons"] == {status["tier"]: "in use: its self-test passed"}
    assert "no sockets of any family" in status["checks"]
    assert len(status["policy_version"]) == 12
    assert status["limits"]["call_s"] == 20.0
