"""The table at the top of docs/graders.md, row by row: what a kind needs, and what bad input gets."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fettle_graders.compile import compile_grader
from fettle_graders.errors import GradeFailure, GraderSpecError, UnsupportedGraderError
from fettle_graders.grade import Grade
from fettle_graders.math_process import MathPool
from fettle_graders.sample import Sample
from fettle_graders.sandbox.pool import shared_sandbox
from fettle_graders.sandbox.tenant import CodeSandbox
from fettle_graders.services import JudgeAnswer, JudgeRequest, Services
from fettle_graders.spec import GRADER_TYPES, needed_service, needs_group, parse_grader

PAGE = (Path(__file__).parents[2] / "docs" / "graders.md").read_text("utf-8")
_ROW = re.compile(r"^\| \[`(\w+)`\]\(#[\w-]+\)(?: †)? \|(.*)\|$", re.MULTILINE)
ROWS = {kind: [cell.strip() for cell in cells.split("|")] for kind, cells in _ROW.findall(PAGE)}
NEEDS = {
    "nothing": None,
    "a sandbox": "sandbox",
    "a judge": "judge",
    "your service": "http",
    "a reward model": "scorer",
    "whole groups": "group",
    "what its graders need": None,
}
OUTPUT, ANSWER = "{{sample.output_text}}", "{{item.answer}}"


class Judge:
    def ask(self, request: JudgeRequest) -> JudgeAnswer:
        return JudgeAnswer(text="I cannot say", model=request.model)


class Away:
    def post(self, url: str, headers: Any, body: bytes) -> bytes:
        raise GradeFailure("other_error", "after 4 tries: HTTP 503")


class NoModel:
    def score(self, model: str, texts: Any) -> list[float]:
        raise GradeFailure("model_grader_server_error", "no such model", details="no such model")


@dataclass(frozen=True)
class Case:
    """A definition, a broken one, an answer that is no use, and a row or service with which nothing can be graded."""

    spec: dict[str, Any]
    broken: dict[str, Any]
    useless: str = "I do not know"
    failing: tuple[dict[str, Any], str] = ({}, "4")


PAIR = {"input": OUTPUT, "reference": ANSWER}
JUDGE = {"model": "m", "input": [{"role": "user", "content": OUTPUT}]}
LABELS = {**JUDGE, "labels": ["a", "b"], "passing_labels": ["a"]}
CASES = {
    "string_check": Case({**PAIR, "operation": "eq"}, {"operation": "equals"}),
    "text_similarity": Case({**PAIR, "evaluation_metric": "rouge_l"}, {"evaluation_metric": "rouge_9"}),
    "math": Case({"reference": ANSWER}, {"reference": 4}, failing=({"answer": "none at all, sorry"}, "4")),
    "json_schema": Case({"json_schema": {"$ref": "#"}}, {"json_schema": {"type": "strnig"}}),
    "regex": Case({"pattern": r"(\d+)"}, {"pattern": "(?=a)"}, failing=({}, "4" * 200_001)),
    "format": Case({"required": [ANSWER]}, {"required": [], "min_chars": 5, "max_chars": 4}),
    "majority": Case({}, {"answer": "maths"}),
    "multi": Case(
        {"graders": {"ok": {"type": "string_check", **PAIR, "operation": "eq"}}, "calculate_output": "1 / ok - 1"},
        {"calculate_output": "ok + fine"},
        failing=({"answer": "4"}, "5"),
    ),
    "python": Case(
        {"source": "def grade(sample, item):\n    return item['answer']"},
        {"source": 3},
    ),
    "code": Case(
        {"tests": "{{item.tests}}"}, {"tests": []}, useless="I cannot program", failing=({"tests": "none"}, "x = 1")
    ),
    "score_model": Case(JUDGE, {"range": [1, 0]}),
    "label_model": Case(LABELS, {"passing_labels": ["c"]}),
    "reward_model": Case({"model": "m"}, {"activation": "relu"}),
    "process": Case({"model": "m"}, {"aggregate": "mean"}, useless=""),
    "endpoint": Case({"url": "https://x/"}, {"url": "x"}),
}
ITEMS = {
    "code": {"tests": json.dumps([{"call": "f", "args": [1], "expected": 2}])},
    "json_schema": {},
}


def test_the_table_has_every_kind_once() -> None:
    assert [*ROWS] == re.findall(r"^\| \[`(\w+)`\]", PAGE, re.MULTILINE)
    assert ROWS.keys() == CASES.keys() == set(GRADER_TYPES)


@pytest.fixture
def run(math_pool: MathPool):
    def run_(kind: str, item: dict[str, Any], text: str) -> Grade:
        services = Services(
            math=math_pool.score, judge=Judge(), http=Away(), scorer=NoModel(), sandbox=CodeSandbox(shared_sandbox())
        )
        spec = parse_grader({"type": kind, **CASES[kind].spec})
        return compile_grader(spec, services).grade({"messages": [], **item}, Sample(text))

    return run_


@pytest.mark.parametrize("kind", ROWS)
def test_what_it_needs(kind: str) -> None:
    spec = parse_grader({"type": kind, **CASES[kind].spec})
    service = needed_service(spec)
    assert NEEDS[ROWS[kind][1]] == ("group" if needs_group(spec) else service)
    if service is not None:
        with pytest.raises(UnsupportedGraderError, match=kind):
            compile_grader(spec, Services())


@pytest.mark.parametrize("kind", ROWS)
def test_a_broken_definition_is_refused_with_its_field(kind: str) -> None:
    case = CASES[kind]
    with pytest.raises(GraderSpecError) as caught:
        parse_grader({"type": kind, **case.spec, **case.broken})
    assert caught.value.param == "" or caught.value.param.split(".")[0] in case.broken


@pytest.mark.parametrize("kind", [kind for kind in ROWS if ROWS[kind][3].startswith("0")])
def test_an_answer_that_is_no_use_scores_zero(run, kind: str) -> None:
    flags = tuple(re.findall(r"`(\w+)`", ROWS[kind][3]))
    item = ITEMS.get(kind, {"answer": "7"})
    if kind == "majority":
        spec = parse_grader({"type": kind})
        grade = compile_grader(spec).grade_group(item, [Sample(CASES[kind].useless)] * 2)[0]
    else:
        grade = run(kind, item, CASES[kind].useless)
    assert (grade.score, grade.errors.raised()) == (0.0, flags), grade.message


@pytest.mark.parametrize("kind", ROWS)
def test_what_cannot_be_graded_has_no_score_and_this_flag(run, kind: str) -> None:
    (flag,) = re.findall(r"`(\w+)`", ROWS[kind][4])
    grade = run(kind, *CASES[kind].failing)
    assert (grade.score, grade.errors.raised()) == (None, (flag,)), grade.message
    assert grade.message


QUICK = sorted(set(CASES) - {"python", "code", "math"})  # their processes have fuzz tests of their own
ANSWERS = st.one_of(
    st.text(), st.integers().map(str), st.recursive(st.none() | st.integers(), st.lists).map(json.dumps)
)


@given(st.sampled_from(QUICK), ANSWERS, st.dictionaries(st.sampled_from(["answer", "tests", "messages"]), ANSWERS))
def test_no_answer_and_no_row_stop_the_host_or_score_by_accident(kind: str, text: str, item: dict[str, Any]) -> None:
    services = Services(math=lambda text, other: float(text == other), judge=Judge(), http=Away(), scorer=NoModel())
    grader = compile_grader(parse_grader({"type": kind, **CASES[kind].spec}), services)
    for grade in grader.grade_group(item, [Sample(text), Sample(text[::-1])]):
        if grade.score is None:
            assert grade.message
            assert grade.errors.raised()
        else:
            assert math.isfinite(grade.score)
        assert kind not in ("score_model", "label_model", "endpoint", "reward_model") or grade.score is None
