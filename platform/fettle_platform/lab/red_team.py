"""Red-team: answers that deserve nothing, against what honest answers get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Literal

from fettle_graders.lab.attacks import DESCRIPTIONS, Target, attacks, is_fooled
from fettle_graders.lab.intervals import wilson
from fettle_graders.sample import Sample
from fettle_graders.spec import GraderSpec, masked
from fettle_platform.accounts.scoping import Scope
from fettle_platform.core.errors import InvalidRequest
from fettle_platform.lab.grading import grade_all, health
from fettle_platform.lab.material import Group, answered, read_rows, template_of, written
from fettle_platform.lab.reports import AttackExample, AttackResult, RedTeam, bounded, shown
from fettle_platform.lab.requests import JobSource, RedTeamRequest, ReferenceSource, Source, refuse_too_many

_NUM_EXAMPLES = 3

Scored = tuple[int, str, float]  # row, text, score


def run_red_team(scope: Scope, request: RedTeamRequest, spec: GraderSpec, version: str | None) -> RedTeam:
    """Raises InvalidRequest, NotFound: rows or honest answers cannot be had, or the grader cannot run here."""
    source = _honest_source(request)
    template = template_of(request.gold, param="gold") if request.gold is not None else None
    honest = answered(
        scope,
        source,
        file_id=request.file_id,
        rows=request.rows,
        num_rows=request.num_rows,
        seed=request.seed,
        param="honest",
    )
    rows = _rows_to_attack(scope, request, source, honest)
    golds = [written(template, group.item) if template else None for group in rows]
    known = [gold for gold in golds if gold is not None]
    tried = [
        attacks(Target(group.row, group.prompt, gold, known, request.gold), seed=request.seed)
        for group, gold in zip(rows, golds, strict=True)
    ]
    num_honest = sum(len(group.answers) for group in honest)
    refuse_too_many(num_honest + sum(map(len, tried)), "honest answers and attacks", param="num_rows")
    work = [(group.item, [answer.sample for answer in group.answers]) for group in honest]
    # One by one: an attack must stand alone, also before a grader that compares the answers of a row.
    named = [(group, name, text) for group, texts in zip(rows, tried, strict=True) for name, text in texts.items()]
    graded = grade_all(scope, spec, work + [(group.item, [Sample(text)]) for group, _, text in named])
    of_honest, of_attacks = graded.grades[: len(honest)], graded.grades[len(honest) :]
    honest_scores = [g.score for grades in of_honest if grades for g in grades if g.score is not None]
    found: dict[str, list[Scored]] = {}
    for (group, name, text), grades in zip(named, of_attacks, strict=True):
        if grades and grades[0].score is not None:
            found.setdefault(name, []).append((group.row, text, grades[0].score))
    results, verdict, summary = judge(honest_scores, found)
    return RedTeam(
        grader=masked(spec),
        grader_version=version,
        verdict=verdict,
        summary=summary,
        num_rows=len(rows),
        honest_source=source.type,
        honest_median=median(honest_scores) if honest_scores else None,
        honest_mean=fmean(honest_scores) if honest_scores else None,
        attacks=tuple(results),
        grading=health(graded),
    )


def _honest_source(request: RedTeamRequest) -> Source:
    if request.honest is not None:
        return request.honest
    if request.gold is None:
        raise InvalidRequest(
            "Give `gold`, which writes each row's right answer (such as {{item.answer}}), or `honest`, where honest "
            "answers come from: attacks are judged against these.",
            param="gold",
            code="missing_required_parameter",
        )
    return ReferenceSource(type="reference", template=request.gold)


def _rows_to_attack(scope: Scope, request: RedTeamRequest, source: Source, honest: list[Group]) -> list[Group]:
    """The rows of the honest answers; of a job's each prompt once, whatever steps it was answered in."""
    if isinstance(source, JobSource):
        return list({group.prompt: group for group in honest}.values())
    return read_rows(scope, file_id=request.file_id, rows=request.rows, wanted=[group.row for group in honest])


def judge(
    honest: Sequence[float], found: Mapping[str, Sequence[Scored]]
) -> tuple[list[AttackResult], Literal["holds", "hackable", "unclear"], str]:
    """Findings, a verdict and one sentence, from the scores of honest answers and of each attack."""
    every = [*honest, *(score for scored in found.values() for _, _, score in scored)]
    if not honest or not any(found.values()):
        which = "honest answer" if not honest else "attack"
        return [], "unclear", f"Not one {which} could be graded, so nothing can be said."
    middle, lowest = median(honest), min(every)
    results = [_result(name, scored, middle, lowest) for name, scored in found.items()]
    results.sort(key=lambda result: (-result.num_fooled, -(result.max_score or 0.0), result.name))
    if min(every) == max(every):
        return results, "hackable", f"The grader gives every answer {middle:g}, honest or not: it tells nothing apart."
    fooled = [result for result in results if result.num_fooled]
    if fooled:
        listed = ", ".join(f"{result.name} ({result.num_fooled} of {result.num_rows} rows)" for result in fooled[:5])
        more = f" and {len(fooled) - 5} more" if len(fooled) > 5 else ""
        return results, "hackable", f"Hackable by {listed}{more}: these score as well as honest answers ({middle:g})."
    if middle == lowest:
        return (
            results,
            "unclear",
            f"Honest answers score {middle:g}, the lowest there is, so that no attack could do worse. Give better "
            "honest answers, such as the right ones.",
        )
    return results, "holds", f"Holds: no attack of {len(results)} kinds scores as well as honest answers ({middle:g})."


def _result(name: str, scored: Sequence[Scored], middle: float, lowest: float) -> AttackResult:
    fooled = [one for one in scored if is_fooled(one[2], honest_median=middle, lowest=lowest)]
    scores = [score for _, _, score in scored]
    best = sorted(fooled, key=lambda one: -one[2])[:_NUM_EXAMPLES]
    return AttackResult(
        name=name,
        description=DESCRIPTIONS[name],
        num_rows=len(scored),
        num_fooled=len(fooled),
        share=bounded(wilson(len(fooled), len(scored))) if scored else None,
        mean_score=fmean(scores) if scores else None,
        max_score=max(scores, default=None),
        examples=tuple(AttackExample(row=row, text=shown(text), score=score) for row, text, score in best),
    )
