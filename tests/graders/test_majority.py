"""`majority`: agreement with the vote of the group, abstentions, ties and canary rows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fettle_graders.compile import compile_grader
from fettle_graders.grade import Grade
from fettle_graders.math_process import MathPool
from fettle_graders.sample import Sample
from fettle_graders.services import Services
from fettle_graders.spec import needs_group, parse_grader
from fettle_workers.adapters.graders import InProcessGraderRunner

TEXT: dict[str, Any] = {"type": "majority", "answer": "text"}
MATH: dict[str, Any] = {"type": "majority"}


@pytest.fixture
def vote(math_pool: MathPool):
    def vote_(spec: dict[str, Any], texts: list[str], item: dict[str, Any] | None = None) -> list[Grade]:
        grader = compile_grader(parse_grader(spec), Services(math=math_pool.score))
        return grader.grade_group(item or {}, [Sample(text) for text in texts])

    return vote_


def scores(grades: list[Grade]) -> list[float | None]:
    return [grade.score for grade in grades]


@pytest.mark.parametrize(
    ("spec", "texts", "expected"),
    [
        (TEXT, ["Paris", "paris.", " PARIS ", "Lyon"], [1, 1, 1, 0]),
        (TEXT, [r"So \boxed{Paris}", "Paris", "Lyon"], [1, 1, 0]),
        (TEXT, ["a", "a", "b", "b"], [0, 0, 0, 0]),  # a tie is no majority
        (TEXT, ["a", "b", "c"], [0, 0, 0]),
        (TEXT, ["a", "", " ", "."], [1, 0, 0, 0]),  # abstentions do not vote
        (TEXT, ["", ""], [0, 0]),
        (MATH, [r"\boxed{1/2}", "0.5", r"The answer is $\frac{2}{4}$.", "2"], [1, 1, 1, 0]),
        (MATH, ["I do not know", "I do not know", r"\boxed{yes}"], [0, 0, 1]),
        (MATH, ["I do not know, sorry", "who can say", "It is 4, I think: the answer is 4"], [0, 0, 1]),
    ],
)
def test_an_answer_is_worth_its_agreement(vote, spec: dict[str, Any], texts: list[str], expected: list[float]) -> None:
    assert scores(vote(spec, texts)) == expected


def test_the_order_of_completions_does_not_matter(vote) -> None:
    texts = ["0.5", "2", r"\boxed{\frac12}", "3", "1/2"]
    assert scores(vote(MATH, texts)) == [1, 0, 1, 0, 1]
    assert scores(vote(MATH, texts[::-1])) == [1, 0, 1, 0, 1]


def test_the_share_counts_the_whole_group(vote) -> None:
    grades = vote(TEXT, ["a", "a", "b", ""])
    assert [grade.vote.share for grade in grades if grade.vote] == [0.5] * 4
    assert grades[3].message == "no answer was found: it abstains"
    assert vote(TEXT, ["a", "b"])[0].message == "no majority: a tie"


def test_a_canary_tells_whether_the_vote_is_right_and_gives_no_reward(vote) -> None:
    spec = {**TEXT, "canary": "{{item.capital}}"}
    grades = vote(spec, ["Lyon", "lyon", "Paris"], {"capital": "Paris"})
    assert scores(grades) == [1, 1, 0]
    assert [(grade.vote.winner_is_right, grade.vote.is_right) for grade in grades if grade.vote] == [
        (False, False), (False, False), (False, True),
    ]  # fmt: skip
    unlabelled = vote(spec, ["Lyon", "lyon"], {})
    assert [(grade.vote.winner_is_right, grade.vote.is_right) for grade in unlabelled if grade.vote] == [
        (None, None)
    ] * 2


def test_some_vote_only(vote) -> None:
    grades = vote({**TEXT, "train_on": 2}, ["a", "b", "a", "a"])
    assert [grade.vote.trains for grade in grades if grade.vote] == [True, True, False, False]
    assert scores(grades) == [1, 0, 1, 1]


def test_one_answer_has_nothing_to_agree_with(vote) -> None:
    (grade,) = vote(TEXT, ["a"])
    assert (grade.score, grade.errors.raised()) == (None, ("other_error",))
    assert "twice or more" in str(grade.message)
    (labelled,) = vote({**TEXT, "canary": "a"}, ["a"])
    assert labelled.vote is not None
    assert labelled.vote.is_right is True


def test_inside_multi_each_completion_keeps_its_vote(vote) -> None:
    short = {"type": "format", "max_chars": 3}
    spec = {"type": "multi", "graders": {"vote": TEXT, "short": short}, "calculate_output": "vote * short"}
    grades = vote(spec, ["Rome", "Rome", "a"])
    assert scores(grades) == [0, 0, 0]
    assert [grade.sub_scores for grade in grades] == [
        {"vote": 1.0, "short": 0.0}, {"vote": 1.0, "short": 0.0}, {"vote": 0.0, "short": 1.0},
    ]  # fmt: skip
    assert all(grade.vote is not None for grade in grades)


def test_the_runner_grades_groups_together() -> None:
    with InProcessGraderRunner(parse_grader(TEXT)) as runner:
        assert runner.needs_group
        grades = [runner.submit({}, [Sample(text) for text in texts]) for texts in ("aab", "bba")]
        assert [scores(wait()) for wait in grades] == [[1, 1, 0], [1, 1, 0]]
    assert needs_group(parse_grader({"type": "multi", "graders": {"v": MATH}, "calculate_output": "v"}))


@given(st.lists(st.text(max_size=8), min_size=2, max_size=6))
def test_at_most_one_party_wins_and_it_is_the_largest(texts: list[str]) -> None:
    grades = compile_grader(parse_grader(TEXT)).grade_group({}, [Sample(text) for text in texts])
    winners = [grade for grade in grades if grade.score == 1.0]
    assert len(winners) != 0 or all(grade.score == 0.0 for grade in grades)
    if winners:
        assert winners[0].vote is not None
        assert winners[0].vote.share == len(winners) / len(texts)
