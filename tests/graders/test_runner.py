"""The engine's grader runner: grades in order, bounded, and nothing left behind."""

from __future__ import annotations

from typing import Any

import pytest

from fettle_graders.errors import UnsupportedGraderError
from fettle_graders.sample import Sample
from fettle_graders.spec import parse_grader
from fettle_workers.adapters.graders import InProcessGraderRunner

MATH: dict[str, Any] = {"type": "math", "reference": "{{item.answer}}"}
EQ = {"type": "string_check", "input": "{{sample.output_text}}", "reference": "{{item.answer}}", "operation": "eq"}


@pytest.mark.parametrize("spec", [EQ, MATH, {"type": "multi", "graders": {"m": MATH}, "calculate_output": "m"}])
@pytest.mark.parametrize("num_processes", [1, 2])
def test_grades_come_in_the_order_of_the_items(spec: dict[str, Any], num_processes: int) -> None:
    with InProcessGraderRunner(parse_grader(spec), num_processes=num_processes) as runner:
        assert not runner.needs_group
        waiting = [
            runner.submit({"answer": str(n)}, [Sample(str(n if n % 3 else -1)), Sample(str(n))]) for n in range(12)
        ]
        scores = [[grade.score for grade in grades()] for grades in waiting]
        assert scores == [[float(n % 3 > 0), 1.0] for n in range(12)]


def test_a_bomb_fails_its_own_grade_only() -> None:
    with InProcessGraderRunner(parse_grader(MATH), num_processes=2, cpu_s=0.5) as runner:
        texts = ["1", r"\boxed{9^{9^{9^{9}}}}", "1", "2", "1"]
        waiting = [runner.submit({"answer": "1"}, [Sample(text)]) for text in texts]
        grades = [grade for grades in waiting for grade in grades()]
    assert [grade.score for grade in grades] == [1.0, None, 1.0, 0.0, 1.0]
    assert grades[1].errors.raised() == ("unresponsive_reward_error",)


def test_closing_leaves_no_child_and_cheap_kinds_start_none() -> None:
    with InProcessGraderRunner(parse_grader(EQ)) as cheap:
        cheap.submit({"answer": "1"}, [Sample("1")])
        assert not cheap._pool._children
    runner = InProcessGraderRunner(parse_grader(MATH))
    runner.submit({"answer": "1"}, [Sample("1")])()
    (child,) = runner._pool._children
    assert child._process.poll() is None
    runner.close()
    runner.close()
    assert child._process.poll() is not None


def test_what_cannot_run_is_refused_at_once() -> None:
    with pytest.raises(UnsupportedGraderError, match="outgoing calls"):
        InProcessGraderRunner(parse_grader({"type": "endpoint", "url": "https://g.example/"}))
