"""Programs judged by tests, in both tiers: right ones pass, and those that cheat gain nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from fettle_graders.compile import compile_grader
from fettle_graders.grade import Grade
from fettle_graders.sample import Sample
from fettle_graders.sandbox.pool import Sandbox
from fettle_graders.sandbox.tenant import CodeSandbox
from fettle_graders.services import Services
from fettle_graders.spec import parse_grader

pytestmark = pytest.mark.timeout(60)

ADD = [{"call": "add", "args": [1, 2], "expected": 3}, {"call": "add", "args": [2, 5], "expected": 7}]
RIGHT = "def add(a, b):\n    return a + b\n"
Judge = Callable[..., Grade]


@pytest.fixture
def judge(sandbox: Sandbox) -> Judge:
    def judge_(program: str, tests: Any = ADD, **fields: Any) -> Grade:
        spec = parse_grader({"type": "code", "tests": "{{item.tests}}", "timeout_s": 20} | fields)
        grader = compile_grader(spec, Services(sandbox=CodeSandbox(sandbox, "org")))
        return grader.grade({"tests": tests}, Sample(program))

    return judge_


def outcomes(grade: Grade) -> list[str]:
    return [test["outcome"] for test in grade.notes["tests"]]


def test_a_right_program_passes_and_a_half_right_one_half(judge: Judge) -> None:
    right = judge(f"I would write\n```python\n{RIGHT}```\n")
    assert (right.score, right.message) == (1.0, "2 of 2 tests passed")
    assert outcomes(right) == ["passed", "passed"]
    assert right.notes["sandbox"]["tier"] in ("namespaces", "lockdown")
    half = judge("def add(a, b): return 3")
    assert half.score == 0.5
    assert half.message == "1 of 2 tests passed; test 1: expected 7, found 3"
    assert judge("def add(a, b): return 3", scoring="all").score == 0.0


def test_whole_programs_read_and_print_in_any_way(judge: Judge) -> None:
    tests = [{"stdin": "3\n1 2 3\n", "stdout": "6\n"}, {"stdin": "1\n5\n", "stdout": "5"}]
    for program in (
        "input(); print(sum(map(int, input().split())))",
        "import sys\nd = sys.stdin.read().split(); sys.stdout.write(str(sum(map(int, d[1:]))))",
        "import sys\nd = sys.stdin.buffer.read().split(); sys.stdout.buffer.write(b'%d' % sum(map(int, d[1:])))",
        "import os\nd = os.read(0, 9999).split(); os.write(1, b'%d' % sum(map(int, d[1:])))",
        "d = open(0).read().split(); print(sum(map(int, d[1:]))); raise SystemExit(1)",
        "if __name__ == '__main__':\n    input(); print(sum(map(int, input().split())))",
    ):
        grade = judge(program, tests)
        assert grade.score == 1.0, (program, grade.message)
    assert judge("print(6)", tests).score == 0.5
    assert judge("input(); print(1 / 0)", tests).message == (
        "0 of 2 tests passed; test 0: exception: line 1, in <module>: ZeroDivisionError: division by zero"
    )
    long = [{"stdin": "x" * 900_000, "stdout": "900000"}]
    assert judge("print(len(input()))", long).score == 1.0


def test_values_keep_their_types_both_ways(judge: Judge) -> None:
    tests = ["assert f((1, 2), {'k': {3}}) == ((1, 2), {3})", "assert f([1], {'k': None}) == ([1], None)"]
    assert judge("def f(a, b): return a, b['k']", tests).score == 1.0
    assert judge("def f(a, b): return list(a), b['k']", tests).score == 0.5
    assert judge("def f(s):\n    s.add(9)\n    return s", ["assert f({1}) == {9, 1}"]).score == 1.0
    numpy = "import numpy\ndef f(x): return numpy.array(x) * 2"
    assert judge(numpy, [{"call": "f", "args": [[1, 2]], "expected": [2, 4]}]).score == 1.0


CHEATS = {
    "an int that equals all": """
class Yes(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = int.__hash__
def add(a, b): return Yes(0)
""",
    "an object that equals all": "class Yes:\n    def __eq__(self, o): return True\ndef add(a, b): return Yes()",
    "reading what is expected from the frames": """
import gc, sys
def add(a, b):
    frame, seen = sys._getframe(), []
    while frame:
        seen.append(frame.f_locals); seen.append(frame.f_globals); frame = frame.f_back
    assert "expected" not in repr(seen) and "7" not in repr([s.get("test") for s in seen])
    for thing in gc.get_objects():
        if isinstance(thing, dict) and "expected" in thing: return thing["expected"]
    return 0
""",
    "leaving with success": "import sys\ndef add(a, b): sys.exit(0)",
    "leaving at once": "import os\nos._exit(0)",
    "leaving in a call": "import os\ndef add(a, b): os._exit(0)",
    "claiming success": "print('2 passed'); print('OK')\ndef add(a, b): print('PASSED')",
    "patching the serializer": """
import json, sys
values = sys.modules["fettle_graders.sandbox.jail.values"]
values.dump = lambda value: "3"
def add(a, b): return object()
""",
    "skipping": "import unittest\ndef add(a, b): raise unittest.SkipTest('no')",
    "a loop": "def add(a, b):\n    while True: pass",
    "a loop at the top": "while True: pass",
    "no such function": "def plus(a, b): return a + b",
    "no program": "I cannot do that.",
    "too much memory": "def add(a, b):\n    x = []\n    while True: x.append(bytearray(1 << 20))",
    "too much recursion": "import sys\nsys.setrecursionlimit(10**9)\nclass A:\n    def __repr__(s): return repr(s)\n"
    "def add(a, b): return repr(A())",
    "an answer too large": "def add(a, b): return 'x' * 100_000",
    "an answer too deep": "def add(a, b):\n    x = []\n    for _ in range(100_000): x = [x]\n    return x",
    "an answer that contains itself": "def add(a, b):\n    x = []\n    x.append(x)\n    return x",
    "a number of many digits": "def add(a, b): return 7 ** 100_000",
    "forking": "import os\ndef add(a, b):\n    os.fork()\n    return 1",
    "files": "def add(a, b): return open('/etc/passwd').read()",
    "garbage on every descriptor": "import os\ndef add(a, b):\n    for fd in range(2, 64):\n"
    "        try: os.write(fd, b'garbage' * 99)\n        except OSError: pass\n    return 1",
}


@pytest.mark.parametrize("name", CHEATS)
def test_cheating_gains_nothing_and_harms_nobody(judge: Judge, name: str) -> None:
    grade = judge(CHEATS[name], timeout_s=1 if "loop" in name else 20)
    assert grade.score in ((0.0,) if name != "patching the serializer" else (0.0, 0.5)), grade.message  # 3 is a guess
    assert grade.errors.raised() == ()  # the program is to blame, not the grader
    assert judge(RIGHT).score == 1.0


def test_a_test_that_takes_too_long_costs_only_itself(judge: Judge) -> None:
    program = "def add(a, b):\n    while a == 1: pass\n    return a + b"
    start = time.monotonic()
    grade = judge(program, timeout_s=2)
    assert outcomes(grade) == ["timeout", "passed"]
    assert grade.notes["tests"][0]["seconds"] == pytest.approx(2.0, abs=1.0)
    assert time.monotonic() - start < 20


def test_a_forged_answer_of_one_program_never_reaches_the_next(judge: Judge) -> None:
    """It knows its own number and the pipe, and writes answers in stock; all of them are its own, or of nobody."""
    forge = """
import os, struct, sys
def add(a, b):
    frame = sys._getframe()
    while "number" not in frame.f_locals or "replies" not in frame.f_locals: frame = frame.f_back
    number, replies = frame.f_locals["number"], frame.f_locals["replies"]
    text = b"7"
    for _ in range(50):
        os.write(replies, struct.pack("<QBdII", number, 6, 0.0, len(text), 0) + text)
    return 0
"""
    assert judge(forge).score <= 0.5
    for _ in range(3):
        grade = judge("def add(a, b): return -1")
        assert (grade.score, outcomes(grade)) == (0.0, ["wrong", "wrong"])
        assert judge(RIGHT).score == 1.0


def test_a_program_that_stays_alive_is_ended(judge: Judge) -> None:
    stay = "import os, threading, time\nos._exit = lambda status: time.sleep(1000)\n" + RIGHT
    start = time.monotonic()
    assert judge(stay).score == 1.0
    assert time.monotonic() - start < 20
    assert judge(RIGHT).score == 1.0


def test_programs_know_nothing_of_each_other(judge: Judge) -> None:
    judge("import builtins, math\nbuiltins.secret = 'leak'; math.pi = 3\n" + RIGHT)
    look = (
        "import builtins, gc, math\ndef add(a, b):\n    return 3 if hasattr(builtins, 'secret') or math.pi == 3 else 0"
    )
    assert judge(look).score == 0.0


def test_weak_tests_run_beside_the_program_and_are_called_weak(judge: Judge) -> None:
    tests = ["assert add(1, 2) > 2"]
    refused = judge(RIGHT, tests)
    assert refused.score is None
    assert "set allow_weak_tests" in refused.message
    grade = judge(RIGHT, tests, allow_weak_tests=True)
    assert (grade.score, grade.notes["tests"][0]["weak"]) == (1.0, True)
    assert grade.message == "1 of 1 tests passed, 1 of them weak"
    assert judge("def add(a, b): return 0", tests, allow_weak_tests=True).score == 0.0


@pytest.mark.parametrize("tests", [None, "x", [], [{"input": 1}], 3])
def test_a_row_without_usable_tests_is_a_failure_and_no_zero(judge: Judge, tests: object) -> None:
    grade = judge(RIGHT, tests)
    assert grade.score is None
    assert grade.message.startswith("the row's tests: ")


def test_many_programs_leave_no_process_and_no_descriptor(sandbox: Sandbox, judge: Judge) -> None:
    judge(RIGHT)
    files = len(os.listdir("/proc/self/fd"))
    for n in range(30):
        assert judge(RIGHT if n % 3 else "import os\nos._exit(1)").score == float(n % 3 > 0)
    assert len(os.listdir("/proc/self/fd")) <= files + 8  # a spare may have come
    assert not sandbox._busy
