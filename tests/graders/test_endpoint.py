"""`endpoint`: what is sent, what may come back, and that a failure is never a score."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fettle_graders.compile import compile_grader
from fettle_graders.endpoint import RateLimit
from fettle_graders.errors import GradeFailure
from fettle_graders.grade import Grade
from fettle_graders.sample import Sample
from fettle_graders.services import Services
from fettle_graders.spec import parse_grader

SPEC = {"type": "endpoint", "url": "https://grade.example/v1", "headers": {"Authorization": "Bearer k"}}


class Answers:
    """A remote grader that answers the same to everything, or raises."""

    def __init__(self, answer: bytes | GradeFailure) -> None:
        self.answer = answer
        self.posts: list[tuple[str, dict[str, str], Any]] = []

    def post(self, url: str, headers: Any, body: bytes) -> bytes:
        self.posts.append((url, dict(headers), json.loads(body)))
        if isinstance(self.answer, GradeFailure):
            raise self.answer
        return self.answer


def graded(answer: bytes | GradeFailure, sample: Sample | None = None, item: dict[str, Any] | None = None) -> Grade:
    grader = compile_grader(parse_grader(SPEC), Services(http=Answers(answer)))
    return grader.grade(item or {}, sample or Sample("4"))


def test_sample_item_and_a_trace_id_are_posted_with_the_headers() -> None:
    http = Answers(b'{"score": 0.25}')
    grader = compile_grader(parse_grader(SPEC), Services(http=http))
    sample = Sample('{"a": 1}', output_reasoning="hm", choices=[{"index": 0}])
    assert grader.grade({"answer": "4"}, sample).score == 0.25
    grader.grade({}, Sample("no json"))
    (url, headers, body), (_, _, other) = http.posts
    assert (url, headers) == ("https://grade.example/v1", {"Authorization": "Bearer k"})
    assert body.pop("trace_id").startswith("trace_")
    assert body == {
        "item": {"answer": "4"},
        "sample": {
            "output_text": '{"a": 1}',
            "output_json": {"a": 1},
            "output_reasoning": "hm",
            "output_tools": [],
            "choices": [{"index": 0}],
        },
    }
    assert other["sample"] == {"output_text": "no json", "output_tools": []}
    assert other["trace_id"] != http.posts[0][2].get("trace_id")


@pytest.mark.parametrize(("body", "score"), [(b'{"score": 1}', 1.0), (b'{"score": -2.5, "why": "x"}', -2.5)])
def test_any_finite_number_is_a_score(body: bytes, score: float) -> None:
    assert graded(body).score == score


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b"1", "no object"),
        (b"[1]", "no object"),
        (b'{"reward": 1}', "the keys reward"),
        (b'{"score": "1"}', "number"),
        (b'{"score": true}', "number"),
        (b'{"score": null}', "number"),
        (b'{"score": NaN}', "not a finite number"),
        (b'{"score": 1e999}', "not a finite number"),
        (b'{"score": 1' + b"0" * 4000 + b"}", "not a finite number"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_anything_else_drops_the_completion(body: bytes, words: str) -> None:
    grade = graded(body)
    assert (grade.score, grade.errors.raised()) == (None, ("other_error",))
    assert words in (grade.message or "")


def test_a_failed_call_drops_the_completion_with_its_flag() -> None:
    grade = graded(GradeFailure("unresponsive_reward_error", "away"))
    assert (grade.score, grade.errors.raised(), grade.message) == (None, ("unresponsive_reward_error",), "away")


@given(st.binary())
def test_no_answer_is_mistaken_for_a_score(body: bytes) -> None:
    grade = graded(body)
    assert grade.score is None or isinstance(json.loads(body)["score"], int | float)


def test_what_json_cannot_say_is_not_sent() -> None:
    grade = graded(b'{"score": 1}', item={"x": float("nan")})
    assert (grade.score, grade.errors.raised()) == (None, ("other_error",))


def test_calls_are_spaced_by_the_rate_limit() -> None:
    """At 4 a second, calls at 0, 0, 0.1 and 9 seconds leave at 0, 0.25, 0.5 and 9."""
    now, slept = [0.0], []
    limit = RateLimit(4.0, clock=lambda: now[0], sleep=slept.append)
    for at in (0.0, 0.0, 0.1, 9.0):
        now[0] = at
        limit.wait()
    assert slept == pytest.approx([0.25, 0.4])


@pytest.mark.parametrize("header", ["Host", "content-length", "Transfer-Encoding"])
def test_headers_that_frame_the_request_are_refused(header: str) -> None:
    with pytest.raises(ValueError, match="set by Fettle"):
        parse_grader({**SPEC, "headers": {header: "x"}})
