from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fettle_graders.compile import compile_grader
from fettle_graders.errors import GradeFailure, UnsupportedGraderError
from fettle_graders.grade import Grade, GradeErrors, Scored, SingleGrader, run_response
from fettle_graders.multi import MultiGrader
from fettle_graders.sample import Sample
from fettle_graders.services import Services, TokenUsage
from fettle_graders.spec import parse_grader

EQ = {"type": "string_check", "input": "{{sample.output_text}}", "reference": "{{item.answer}}", "operation": "eq"}
NEAR = {
    "type": "text_similarity",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "evaluation_metric": "fuzzy_match",
}
JSON_EQ = {**EQ, "input": "{{sample.output_json.answer}}"}


def multi(formula: str, **graders: Any) -> dict[str, Any]:
    return {"type": "multi", "graders": graders, "calculate_output": formula}


def test_a_single_grader(grade) -> None:
    result = grade(EQ, {"answer": "4"}, "4")
    assert (result.score, result.errors.raised(), result.message) == (1.0, (), None)
    assert (result.sub_scores, result.sub_errors) == ({}, {})
    assert result.execution_time_s > 0


def test_multi_combines_by_its_formula(grade) -> None:
    # eq 0; fuzzy "kitten"/"sitting" 8/13; 0.25 * 0 + 0.75 * 8/13 = 6/13.
    result = grade(multi("0.25 * ok + 0.75 * near", ok=EQ, near=NEAR), {"answer": "sitting"}, "kitten")
    assert result.score == pytest.approx(6 / 13)
    assert result.sub_scores == {"ok": 0.0, "near": pytest.approx(8 / 13)}
    assert set(result.sub_execution_times_s) == {"ok", "near"}


def test_a_multi_grader_carries_its_true_outcome_and_cannot_grade_without_it(grade) -> None:
    """The formula reads `near` only; `ok` is what happened. fuzzy "kitten"/"sitting": 8/13."""
    gated = {**multi("near", ok=EQ, near=NEAR), "outcome": "ok"}
    wrong, right = grade(gated, {"answer": "sitting"}, "kitten"), grade(gated, {"answer": "sitting"}, "sitting")
    assert (wrong.score, wrong.outcome) == (pytest.approx(8 / 13), 0.0)
    assert (right.score, right.outcome) == (1.0, 1.0)
    assert grade(multi("near", near=NEAR), {"answer": "4"}, "4").outcome is None
    lost = grade(
        {**multi("near", ok=JSON_EQ | {"reference": "{{item.lost}}"}, near=NEAR), "outcome": "ok"},
        {"answer": "4"},
        '{"answer": "4"}',
    )
    assert (lost.score, lost.outcome, lost.errors.raised()) == (None, None, ("invalid_variable_error",))


def test_multi_over_math(grade) -> None:
    math_spec = {"type": "math", "reference": "{{item.answer}}"}
    result = grade(multi("max(right, 0.1 * short)", right=math_spec, short=EQ), {"answer": "0.5"}, r"\boxed{1/2}")
    assert result.score == 1.0


@pytest.mark.parametrize(
    ("spec", "item", "text", "flag", "words"),
    [
        (EQ, {}, "4", "invalid_variable_error", "item.answer"),
        ({"type": "math", "reference": "{{item.answer}}"}, {"answer": ""}, "4", "other_error", "reference"),
        (multi("1 / ok", ok=EQ), {"answer": "4"}, "5", "formula_parse_error", "division by zero"),
        (multi("log(ok)", ok=EQ), {"answer": "4"}, "5", "formula_parse_error", "log(0)"),
        (multi("(0 - near) ^ 0.5", near=NEAR), {"answer": "4"}, "4", "formula_parse_error", "not defined"),
        (multi("exp(1000 * ok)", ok=EQ), {"answer": "4"}, "4", "formula_parse_error", "too large"),
    ],
)
def test_a_failed_grade_has_no_score(
    grade, spec: dict[str, Any], item: dict[str, Any], text: str, flag: str, words: str
) -> None:
    result = grade(spec, item, text)
    assert result.score is None
    assert result.errors.raised() == (flag,)
    assert words in result.message


@pytest.mark.parametrize(
    ("text", "flag"),
    [("4 apples", "sample_parse_error"), ("{}", "invalid_variable_error"), ("NaN", "sample_parse_error")],
)
def test_an_answer_in_the_wrong_form_is_graded_zero_with_its_flag(grade, text: str, flag: str) -> None:
    """The grader did not fail: masked out of training, such answers would never be unlearned."""
    result = grade(JSON_EQ, {"answer": "4"}, text)
    assert result.score == 0.0
    assert result.errors.raised() == (flag,)
    assert result.message
    inside = grade(multi("1 + ok", ok=JSON_EQ), {"answer": "4"}, text)
    assert (inside.score, inside.errors.raised()) == (1.0, (flag,))


def test_multi_fails_with_the_flags_of_what_its_formula_uses(grade) -> None:
    graders = {"ok": EQ, "parsed": JSON_EQ, "lost": {**EQ, "reference": "{{item.lost}}"}}
    used = grade(multi("ok + parsed + lost", **graders), {"answer": "4"}, "4 apples")
    assert used.score is None
    assert used.errors.raised() == ("sample_parse_error", "invalid_variable_error")
    assert used.sub_scores == {"ok": 0.0, "parsed": 0.0, "lost": None}
    assert used.sub_errors["lost"].raised() == ("invalid_variable_error",)
    assert "'lost'" in used.message
    unused = grade(multi("ok + 1", **graders), {"answer": "4"}, "4")
    assert unused.score == 2.0
    assert unused.errors.raised() == ()
    assert unused.sub_errors["lost"].raised() == ("invalid_variable_error",)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_never_leave(score: float) -> None:
    spec = parse_grader({"type": "math", "reference": "1"})
    result = compile_grader(spec, Services(math=lambda text, reference: score)).grade({}, Sample(""))
    assert result.score is None
    assert result.errors.raised() == ("other_error",)


def test_an_unforeseen_exception_fails_one_grade_only() -> None:
    def broken(text: str, reference: str) -> float:
        raise KeyError("bug")

    result = compile_grader(parse_grader({"type": "math", "reference": "1"}), Services(math=broken)).grade(
        {}, Sample("")
    )
    assert (result.score, result.errors.raised()) == (None, ("other_error",))
    assert result.message == "KeyError: 'bug'"


def test_a_time_out_raises_its_flag() -> None:
    def slow(text: str, reference: str) -> float:
        raise GradeFailure("unresponsive_reward_error", "slow")

    result = compile_grader(parse_grader({"type": "math", "reference": "1"}), Services(math=slow)).grade({}, Sample(""))
    assert (result.score, result.errors.raised()) == (None, ("unresponsive_reward_error",))


def test_pass_threshold_does_not_touch_the_score(grade) -> None:
    assert grade({**NEAR, "pass_threshold": 0.9}, {"answer": "sitting"}, "kitten").score == pytest.approx(8 / 13)


def test_a_completion_cannot_read_the_answer(grade) -> None:
    assert grade(EQ, {"answer": "4"}, "{{item.answer}}").score == 0.0
    assert grade(EQ, {"answer": "{{sample.output_text}}"}, "x").score == 0.0
    assert grade({**EQ, "operation": "like"}, {"answer": "4"}, "{{ item }}").score == 0.0


def test_kinds_that_cannot_run_are_refused_before_grading() -> None:
    with pytest.raises(UnsupportedGraderError, match="sandbox"):
        compile_grader(parse_grader({"type": "python", "source": "def grade(sample, item): return 1"}))


def test_the_flags_are_those_of_the_wire() -> None:
    assert [entry.name for entry in fields(GradeErrors)] == [
        "formula_parse_error",
        "sample_parse_error",
        "truncated_observation_error",
        "unresponsive_reward_error",
        "invalid_variable_error",
        "other_error",
        "python_grader_server_error",
        "python_grader_server_error_type",
        "python_grader_runtime_error",
        "python_grader_runtime_error_details",
        "model_grader_server_error",
        "model_grader_server_error_details",
        "model_grader_refusal_error",
        "model_grader_parse_error",
    ]


def test_errors_add_up() -> None:
    details = GradeErrors(python_grader_runtime_error=True, python_grader_runtime_error_details="boom")
    both = GradeErrors.of("other_error") | details
    assert both.raised() == ("other_error", "python_grader_runtime_error")
    assert both.python_grader_runtime_error_details == "boom"
    assert both.python_grader_server_error_type is None


def test_the_tokens_of_judges_add_up_by_model_also_where_one_failed() -> None:
    """a: 10 + 2 tokens read; b: 5, of a grade that failed."""

    def used(model: str, tokens: int, *, fails: bool = False) -> SingleGrader:
        usage = {model: TokenUsage(prompt_tokens=tokens, total_tokens=tokens)}

        def score(item: Any, sample: Sample) -> Scored:
            if fails:
                raise GradeFailure("model_grader_server_error", "away", details="HTTP 503", usage=usage)
            return Scored(1.0, usage)

        return SingleGrader(parse_grader(EQ), score)

    spec = parse_grader(multi("x + y + z", x=EQ, y=EQ, z=EQ))
    result = MultiGrader(spec, {"x": used("a", 10), "y": used("b", 5, fails=True), "z": used("a", 2)}).grade(
        {}, Sample("")
    )
    assert result.score is None
    assert result.errors.model_grader_server_error_details == "HTTP 503"
    assert {name: {m: t.total_tokens for m, t in used.items()} for name, used in result.sub_usage.items()} == {
        "x": {"a": 10},
        "y": {"b": 5},
        "z": {"a": 2},
    }
    response = run_response(spec, result)
    assert response["model_grader_token_usage_per_model"]["a"] == {
        "prompt_tokens": 12,
        "completion_tokens": 0,
        "total_tokens": 12,
        "cached_tokens": 0,
    }
    assert response["model_grader_token_usage_per_model"]["b"]["total_tokens"] == 5
    assert response["metadata"]["token_usage"] == 17


def test_the_run_response_of_a_multi_grader(grade) -> None:
    spec = {**multi("0.5 * ok + 0.5 * near", ok=EQ, near=NEAR), "name": "both"}
    response = run_response(parse_grader(spec), grade(spec, {"answer": "4"}, "4"))
    assert response["metadata"].pop("execution_time") > 0
    assert json.loads(json.dumps(response)) == {
        "reward": 1.0,
        "sub_rewards": {"ok": 1.0, "near": 1.0},
        "metadata": {
            "name": "both",
            "type": "multi",
            "errors": {
                "formula_parse_error": False,
                "sample_parse_error": False,
                "truncated_observation_error": False,
                "unresponsive_reward_error": False,
                "invalid_variable_error": False,
                "other_error": False,
                "python_grader_server_error": False,
                "python_grader_server_error_type": None,
                "python_grader_runtime_error": False,
                "python_grader_runtime_error_details": None,
                "model_grader_server_error": False,
                "model_grader_server_error_details": None,
                "model_grader_refusal_error": False,
                "model_grader_parse_error": False,
            },
            "scores": {"ok": 1.0, "near": 1.0},
            "sampled_model_name": None,
            "token_usage": None,
        },
        "model_grader_token_usage_per_model": {},
        "fettle": {"message": None},
    }


def test_the_run_response_of_a_failure_has_a_reward_of_zero_and_a_flag(grade) -> None:
    spec = multi("ok", ok=JSON_EQ)
    response = run_response(parse_grader(spec), grade(spec, {"answer": "4"}, "no json"))
    assert (response["reward"], response["sub_rewards"]) == (0.0, {"ok": 0.0})
    assert response["metadata"]["errors"]["sample_parse_error"] is True


def test_a_grade_can_be_made_by_hand() -> None:
    assert Grade(score=1.0).errors.raised() == ()


ROW = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(), ROW)
def test_no_row_and_no_completion_stops_a_grader(text: str, answer: Any) -> None:
    spec = parse_grader(multi("ok + near / 2 + json", ok=EQ, near=NEAR, json=JSON_EQ))
    result = compile_grader(spec).grade({"answer": answer}, Sample(text))
    assert result.score is None or set(result.errors.raised()) <= {"sample_parse_error", "invalid_variable_error"}
    assert result.score is not None or result.message is not None
