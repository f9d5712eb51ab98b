"""Batch test: what a grader gives many answers, and whether the right ones come out on top."""

from __future__ import annotations

from collections.abc import Sequence

from fettle_graders.grade import Grade
from fettle_graders.lab.scores import describe
from fettle_graders.sample import Sample
from fettle_graders.spec import GraderSpec, masked
from fettle_platform.accounts.scoping import Scope
from fettle_platform.lab.grading import grade_all, health
from fettle_platform.lab.material import Group, answered, template_of, written
from fettle_platform.lab.reports import GoldCheck, GoldMiss, GraderTest, Result, distribution, shown
from fettle_platform.lab.requests import TestRequest, refuse_too_many

_NUM_EXTREME = 5
_MAX_MISSED = 100


def run_test(scope: Scope, request: TestRequest, spec: GraderSpec, version: str | None) -> GraderTest:
    """Grade the answers, and beside them the right answers that `gold` writes.

    Raises:
        InvalidRequest, NotFound: the rows or answers cannot be had, or the grader cannot run here.
    """
    template = template_of(request.gold, param="gold") if request.gold is not None else None
    groups = answered(
        scope,
        request.source,
        file_id=request.file_id,
        rows=request.rows,
        num_rows=request.num_rows,
        seed=request.seed,
    )
    golds = [written(template, group.item) if template else None for group in groups]
    num_answers = sum(len(group.answers) for group in groups)
    refuse_too_many(num_answers + sum(gold is not None for gold in golds), "answers", param="num_rows")
    # The right answers last and each alone: they must not take part in what a row's own answers are compared with.
    work = [(group.item, [answer.sample for answer in group.answers]) for group in groups]
    checked = [(group, gold) for group, gold in zip(groups, golds, strict=True) if gold is not None]
    graded = grade_all(scope, spec, work + [(group.item, [Sample(gold)]) for group, gold in checked])
    of_groups, of_golds = graded.grades[: len(groups)], graded.grades[len(groups) :]
    results = _results(groups, of_groups)
    by_score = sorted((result for result in results if result.score is not None), key=lambda result: result.score or 0)
    return GraderTest(
        grader=masked(spec),
        grader_version=version,
        source=request.source.type,
        num_rows=len(groups),
        num_answers=num_answers,
        grading=health(graded),
        scores=distribution(describe([_scores(grades) for grades in of_groups], seed=request.seed)),
        gold=_gold_check(checked, groups, of_groups, of_golds) if template else None,
        worst=tuple(by_score[:_NUM_EXTREME]),
        best=tuple(by_score[::-1][:_NUM_EXTREME]),
        results=tuple(results),
    )


def _results(groups: Sequence[Group], grades: Sequence[list[Grade] | None]) -> list[Result]:
    return [
        Result(
            row=group.row,
            step=group.step,
            sample_index=index,
            text=shown(answer.text),
            score=grade.score,
            sub_scores=dict(grade.sub_scores),
            errors=grade.errors.raised(),
            message=grade.message,
        )
        for group, graded in zip(groups, grades, strict=True)
        if graded is not None
        for index, (answer, grade) in enumerate(zip(group.answers, graded, strict=True))
    ]


def _scores(grades: list[Grade] | None) -> list[float]:
    return [grade.score for grade in grades or () if grade.score is not None]


def _gold_check(
    checked: Sequence[tuple[Group, str]],
    groups: Sequence[Group],
    of_groups: Sequence[list[Grade] | None],
    of_golds: Sequence[list[Grade] | None],
) -> GoldCheck:
    """A right answer is missed when it fails, or scores below an answer to its row or below other right answers."""
    answers = {id(group): graded for group, graded in zip(groups, of_groups, strict=True)}
    judged = [(group, gold, graded[0]) for (group, gold), graded in zip(checked, of_golds, strict=True) if graded]
    scores = [grade.score for _, _, grade in judged if grade.score is not None]
    top = max(scores, default=None)
    missed = [
        miss
        for group, gold, grade in judged
        if (miss := _gold_miss(group, gold, grade, answers[id(group)], top)) is not None
    ]
    return GoldCheck(num_checked=len(judged), top_score=top, num_missed=len(missed), missed=tuple(missed[:_MAX_MISSED]))


def _gold_miss(group: Group, gold: str, grade: Grade, graded: list[Grade] | None, top: float | None) -> GoldMiss | None:
    others = [
        (other.score, answer.text)
        for answer, other in zip(group.answers, graded or (), strict=False)
        if other.score is not None
    ]
    best = max(others, default=None)
    if grade.score is None:
        reason = "failed"
    elif best is not None and best[0] > grade.score:
        reason = "below_an_answer"
    elif top is not None and grade.score < top:
        reason = "below_other_references"
    else:
        return None
    return GoldMiss(
        row=group.row,
        reason=reason,
        score=grade.score,
        best_score=best[0] if best else None,
        text=shown(gold),
        best_text=shown(best[1]) if best else None,
    )
