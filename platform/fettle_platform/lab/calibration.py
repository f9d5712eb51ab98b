"""Calibrate: a grader against people's own ratings."""

from __future__ import annotations

import json
from statistics import fmean
from typing import Literal

from fettle_graders.lab.calibrate import Calibration, Rated, calibrate
from fettle_graders.sample import Sample
from fettle_graders.spec import GraderSpec, masked
from fettle_platform.accounts.scoping import Scope
from fettle_platform.lab.grading import Graded, grade_all, health
from fettle_platform.lab.reports import Calibrated, ConfusionShown, bounded
from fettle_platform.lab.requests import CalibrateRequest, refuse_too_many

# From here on a rank correlation is trusted, and below the second not at all: the rule of thumb that Microsoft
# publishes for its graders.
TRUSTED, DOUBTFUL = 0.8, 0.6
_MANY_ANSWERS = 30
_BIASED = 0.3


def run_calibration(scope: Scope, request: CalibrateRequest, spec: GraderSpec, version: str | None) -> Calibrated:
    """Raises InvalidRequest: the grader cannot run here, or that would be too many gradings."""
    refuse_too_many(len(request.answers) * request.repeats, "answers x repeats", param="repeats")
    labels = [answer.label for answer in request.answers]
    label_threshold = (min(labels) + max(labels)) / 2 if request.label_threshold is None else request.label_threshold
    score_threshold = _score_threshold(request, spec)
    # Round by round, so that a call which runs out of time has graded every answer before any of them twice.
    work = [(answer.item, [Sample(answer.text)]) for answer in request.answers]
    graded = grade_all(scope, spec, work * request.repeats)
    found = calibrate(
        [
            Rated(
                label=answer.label,
                scores=tuple(_scores(graded, index, len(work))),
                num_chars=len(answer.text),
                group=json.dumps(answer.item.get("messages", answer.item), sort_keys=True),
            )
            for index, answer in enumerate(request.answers)
        ],
        label_threshold=label_threshold,
        score_threshold=score_threshold,
        seed=request.seed,
    )
    verdict, warnings = judge(found)
    return Calibrated(
        grader=masked(spec),
        grader_version=version,
        num_answers=found.num_answers if found else 0,
        repeats=request.repeats,
        label_threshold=label_threshold,
        score_threshold=score_threshold,
        agreement=bounded(found.agreement) if found else None,
        kappa=bounded(found.kappa) if found else None,
        spearman=bounded(found.spearman) if found else None,
        confusion=ConfusionShown(**vars(found.confusion)) if found else None,
        repeat_noise=bounded(found.repeat_noise) if found else None,
        group_spread=bounded(found.group_spread) if found else None,
        length_bias=bounded(found.length_bias) if found else None,
        verdict=verdict,
        warnings=tuple(warnings),
        grading=health(graded),
    )


def judge(
    found: Calibration | None,
) -> tuple[Literal["use", "doubtful", "do_not_use", "unclear"], list[str]]:
    """From the rank correlation, and what else should be known, in words."""
    if found is None:
        return "unclear", ["Not one answer could be graded."]
    warnings = []
    if found.num_answers < _MANY_ANSWERS:
        warnings.append(f"{found.num_answers} answers are few; rate at least {_MANY_ANSWERS}, the bounds are wide.")
    noise, spread, bias = found.repeat_noise, found.group_spread, found.length_bias
    if noise is not None and spread is not None and noise.value > 0 and noise.value >= spread.value:
        warnings.append(
            f"The grader's own noise ({noise.value:.3f}) is as large as the spread between answers to one prompt "
            f"({spread.value:.3f}): training would chase noise. Average several grades, or lower the temperature."
        )
    if bias is not None and (bias.low > 0 or bias.high < 0) and abs(bias.value) >= _BIASED:
        side = "long" if bias.value > 0 else "short"
        warnings.append(
            f"The grader favours {side} answers beyond what people do (rank correlation {bias.value:+.2f})."
        )
    if found.spearman is None:
        return "unclear", [*warnings, "Labels or scores have one value only, so they cannot be ranked."]
    rho = found.spearman.value
    if rho >= TRUSTED:
        return "use", warnings
    warnings.append(f"Spearman's rank correlation with people is {rho:.2f}; from {TRUSTED} on a grader is trusted.")
    return ("doubtful" if rho >= DOUBTFUL else "do_not_use"), warnings


def _score_threshold(request: CalibrateRequest, spec: GraderSpec) -> float:
    own = getattr(spec, "pass_threshold", None)  # only some kinds have one
    if request.score_threshold is not None:
        return request.score_threshold
    if own is not None:
        return float(own)
    return fmean(getattr(spec, "range", None) or (0.0, 1.0))


def _scores(graded: Graded, index: int, num_answers: int) -> list[float]:
    rounds = (graded.grades[place] for place in range(index, len(graded.grades), num_answers))
    return [grades[0].score for grades in rounds if grades and grades[0].score is not None]
