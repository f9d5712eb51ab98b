"""Regrade: a draft grader over a job's stored answers. No model is asked anything."""

from __future__ import annotations

import math

import numpy as np

from fettle_graders.lab.compare import Comparison, compare
from fettle_graders.lab.compare import Group as RewardGroup
from fettle_graders.spec import GraderSpec, masked
from fettle_platform.accounts.scoping import Scope
from fettle_platform.lab.grading import grade_all, health
from fettle_platform.lab.material import Group, stored_groups
from fettle_platform.lab.reports import FlipShown, Regrade, bounded, shown
from fettle_platform.lab.requests import JobSource, RegradeRequest

_MAX_FLIPS = 50


def run_regrade(scope: Scope, request: RegradeRequest, spec: GraderSpec, version: str | None) -> Regrade:
    """Raises InvalidRequest, NotFound: there are no such answers, or the grader cannot run here."""
    source = JobSource(type="job", job_id=request.job_id, purpose=request.purpose, step=request.step)
    groups = stored_groups(scope, source, num_groups=request.num_groups)
    graded = grade_all(scope, spec, [(group.item, [answer.sample for answer in group.answers]) for group in groups])
    rewards = [
        RewardGroup(
            old=np.array([_number(answer.reward) for answer in group.answers]),
            new=np.array([_number(grade.score) for grade in grades] if grades else [math.nan] * len(group.answers)),
        )
        for group, grades in zip(groups, graded.grades, strict=True)
    ]
    found = compare(rewards, seed=request.seed)
    return Regrade(
        grader=masked(spec),
        grader_version=version,
        job_id=request.job_id,
        num_groups=len(groups),
        num_answers=sum(len(group.answers) for group in groups),
        num_compared=found.num_compared if found else 0,
        old_mean=bounded(found.old_mean) if found else None,
        new_mean=bounded(found.new_mean) if found else None,
        spearman=bounded(found.spearman) if found else None,
        changed_winners=bounded(found.changed_winners) if found else None,
        flipped=bounded(found.flipped) if found else None,
        silenced=found.silenced if found else 0,
        awakened=found.awakened if found else 0,
        flips=_flips(found, groups, rewards) if found else (),
        num_flips=len(found.flips) if found else 0,
        summary=in_words(found),
        grading=health(graded),
    )


def _flips(found: Comparison, groups: list[Group], rewards: list[RewardGroup]) -> tuple[FlipShown, ...]:
    return tuple(
        FlipShown(
            row=groups[flip.group].row,
            step=groups[flip.group].step,
            text=shown(groups[flip.group].answers[flip.member].text),
            old_reward=float(rewards[flip.group].old[flip.member]),
            new_reward=float(rewards[flip.group].new[flip.member]),
            old_advantage=flip.old_advantage,
            new_advantage=flip.new_advantage,
        )
        for flip in found.flips[:_MAX_FLIPS]
    )


def in_words(found: Comparison | None) -> str:
    """What training would have done differently, in one sentence."""
    if found is None:
        return "No answer has both grades, so the two graders cannot be compared."
    parts = []
    if found.flipped is not None:
        parts.append(f"{found.flipped.value:.0%} of the pushed answers would be pushed the other way")
    if found.changed_winners is not None:
        parts.append(f"the best answer changes in {found.changed_winners.value:.0%} of the groups that both tell apart")
    if found.silenced or found.awakened:
        parts.append(f"{found.silenced} groups fall silent and {found.awakened} begin to teach")
    if found.flipped is not None and found.flipped.value == 0 and not (found.silenced or found.awakened):
        return "The draft would have trained in the same directions: " + "; ".join(parts) + "."
    return ("The draft would train differently: " + "; ".join(parts) + ".") if parts else "Neither tells answers apart."


def _number(reward: float | None) -> float:
    return math.nan if reward is None else reward
