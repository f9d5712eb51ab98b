from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fettle_graders.boxed import last_box
from fettle_graders.errors import GradeFailure, GraderError
from fettle_graders.math_process import MathPool, shared_math_score

# Exact arithmetic on a number of more digits than there are atoms; it holds the interpreter's lock for good.
BOMB = r"\boxed{9^{9^{9^{9}}}}"


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("42", "42", 1),
        ("42.0", "42", 1),
        ("43", "42", 0),
        ("-5", "5", 0),
        ("−5", "-5", 1),
        ("1/2", "0.5", 1),
        (r"\frac{1}{2}", "1/2", 1),
        ("0.333333", "1/3", 1),
        ("3.14", r"\pi", 0),
        ("50%", "0.5", 1),
        ("$18", "18", 1),
        ("1,234", "1234", 1),
        ("1 000", "1000", 1),
        ("1e3", "1000", 1),
        ("10 cm", "10", 1),
        ("sqrt(2)", r"\sqrt{2}", 1),
        ("pi", r"\pi", 1),
        (r"\cos(\pi)", "-1", 1),
        ("x + 1", "1 + x", 1),
        ("(x+1)^2", "x^2 + 2x + 1", 1),
        ("2x", "3x", 0),
        ("x", "y", 0),
        ("x = 5", "5", 1),
        ("(1, 2)", "(1, 2)", 1),
        ("(1, 2)", "(2, 1)", 0),
        ("blue", "Blue", 1),
        ("blue", "lube", 0),  # not a product of letters
        ("yes", "no", 0),
        ("B", "B", 1),
        ("B", "C", 0),
        (r"First 3+4=7, so the result is \boxed{7}.", "7", 1),
        (r"\boxed{1} or rather \boxed{2}", "2", 1),
        (r"\boxed{1} or rather \boxed{2}", "1", 0),  # the last one counts
        (r"\boxed{7} and then 8", "7", 1),
        ("3 + 4 = 7\nThe answer is 7.", "7", 1),
        ("The answer is $\\frac{3}{4}$.", "0.75", 1),
        ("We get 12 and finally 15.", "15", 1),
        ("42", "She sells 6 * 7 = 42.\n#### 42", 1),
        ("no idea", "42", 0),
        ("", "42", 0),
        (r"\boxed{}", "42", 0),
        (r"the answer 42 is \boxed{4", "42", 0),  # cut off
        ("1/0", "1", 0),
        ("9" * 5000, "9", 0),
        ("(" * 3000, "1", 0),
        ("\\boxed{" * 3000, "1", 0),
        ("{" * 20_000, "1", 0),
        ("\ud800", "1", 0),
        ("9^9^9^9^9", "3", 0),
    ],
    ids=lambda value: str(value)[:30].encode("ascii", "replace").decode(),
)
def test_answers(math_pool: MathPool, text: str, reference: str, expected: float) -> None:
    assert math_pool.score(text, reference) == expected


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{1}", "1"),
        (r"\boxed {1}", "1"),
        (r"\fbox{1}", "1"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{a \\ b}", r"a \\ b"),
        (r"\boxed{\boxed{1}}", r"\boxed{1}"),
        (r"\boxed{1} \boxed{2", "1"),
        (r"\boxed{1", None),
        ("{1}", None),
        ("}}{", None),
    ],
)
def test_the_last_closed_box(text: str, content: str | None) -> None:
    assert last_box(text) == content


def test_the_answer_is_looked_for_at_the_end(math_pool: MathPool) -> None:
    assert math_pool.score("bla " * 10_000 + r"\boxed{7}", "7") == 1


@pytest.mark.parametrize("reference", ["", "   ", r"\boxed{}"])
def test_a_reference_without_an_answer_is_a_failure(math_pool: MathPool, reference: str) -> None:
    with pytest.raises(GradeFailure) as caught:
        math_pool.score("7", reference)
    assert caught.value.flag == "other_error"
    assert "no mathematical answer" in caught.value.message


def test_grading_works_from_many_threads(math_pool: MathPool) -> None:
    with ThreadPoolExecutor(4) as threads:
        scores = list(threads.map(lambda n: math_pool.score(f"{n}/2", str(n / 2 if n % 2 else -1)), range(40)))
    assert scores == [float(n % 2) for n in range(40)]


def test_a_bomb_is_ended_and_the_next_answer_is_graded() -> None:
    with MathPool(cpu_s=0.5, wall_s=60) as pool:
        start = time.monotonic()
        with pytest.raises(GradeFailure) as caught:
            pool.score(BOMB, "3")
        assert caught.value.flag == "unresponsive_reward_error"
        assert "CPU" in caught.value.message
        assert time.monotonic() - start < 30
        assert pool.score("2", "2") == 1


def test_the_clock_ends_it_from_outside() -> None:
    with MathPool(cpu_s=1000, wall_s=0.3) as pool:
        with pytest.raises(GradeFailure) as caught:
            pool.score(BOMB, "3")
        assert caught.value.flag == "unresponsive_reward_error"
        assert "0.3 s" in caught.value.message


def test_a_child_that_was_killed_fails_one_grade_only() -> None:
    with MathPool() as pool:
        assert pool.score("1", "1") == 1
        (child,) = pool._children
        os.kill(child._process.pid, signal.SIGKILL)
        child._process.wait()
        with pytest.raises(GradeFailure) as caught:
            pool.score("1", "1")
        assert caught.value.flag == "other_error"
        assert pool.score("1", "1") == 1


def test_closing_ends_a_busy_child() -> None:
    pool = MathPool(cpu_s=1000, wall_s=1000)
    pool.score("1", "1")
    (child,) = pool._children
    failures: list[Exception] = []

    def work() -> None:
        try:
            pool.score(BOMB, "3")
        except GraderError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while pool._idle.qsize():  # until the child is taken
        time.sleep(0.001)
    pool.close()
    thread.join(30)
    assert not thread.is_alive()
    assert len(failures) == 1
    assert child._process.returncode == -signal.SIGKILL
    assert not pool._children
    with pytest.raises(GraderError, match="closed"):
        pool.score("1", "1")
    pool.close()


PARENT = """
    import sys, threading
    from fettle_graders.math_process import MathPool
    pool = MathPool(cpu_s=float(sys.argv[1]), wall_s=1000)
    pool.score("1", "1")
    (child,) = pool._children
    print(child._process.pid, flush=True)
    if sys.argv[2] == "busy":
        pool.score(sys.argv[3], "3")
    threading.Event().wait()
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_children_die_with_a_killed_parent(tmp_path: Path, state: str) -> None:
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(PARENT))
    command = [sys.executable, str(script), "1000" if state == "idle" else "2", state, BOMB]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            ended, _, _ = select.select([child], [], [], 60)
            assert ended
        finally:
            os.close(child)


def test_no_secret_of_the_environment_reaches_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    with MathPool() as pool:
        pool.score("1", "1")
        (child,) = pool._children
        environment = Path(f"/proc/{child._process.pid}/environ").read_bytes()
    assert b"PATH=" in environment
    assert b"s3cret" not in environment


def test_the_shared_pool_needs_no_care() -> None:
    code = "from fettle_graders.math_process import shared_math_score as s; print(s('1/2', '0.5'), s('1', '2'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert (done.stdout, done.stderr) == ("1.0 0.0\n", "")
    assert json.dumps(shared_math_score("2", "2")) == "1.0"
