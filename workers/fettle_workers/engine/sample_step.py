"""The completions of one training step: this step's rows, and further rows while too many groups are flat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fettle_workers.engine.advantage import is_informative
from fettle_workers.engine.curriculum import MAX_OVERDRAW, draw_rows, refill_rows
from fettle_workers.engine.data import Data
from fettle_workers.engine.job import Job
from fettle_workers.engine.plan import Plan
from fettle_workers.engine.ports import GraderRunner, Sampler
from fettle_workers.engine.rollout import Collected, Group, Rollout, collect, collect_shares
from fettle_workers.engine.sampler import SamplingParams
from fettle_workers.engine.seeds import stable_seed


@dataclass(frozen=True)
class Rollouts:
    """Where completions come from: rows, sampler and grader of the job.

    `base_lengths` are the tokens of the answers that the plan was made from (none after a resume); `step0` the answers
    of the first evaluation, where a preflight has already made them.
    """

    data: Data
    sampler: Sampler
    graders: GraderRunner
    params: SamplingParams
    base_lengths: tuple[int, ...] = ()
    step0: list[list[Rollout]] | None = None


def sample_step(job: Job[Plan], source: Rollouts, step: int) -> Collected:
    """Sample and grade the groups of a step, replacing flat ones by groups of further rows where that pays.

    Raises:
        JobFailed: the grader fails too often.
    """
    progress, plan, seed = job.progress, job.plan, job.spec.seed
    drawn = draw_rows(progress.memory, batch_size=plan.prompts_per_step, seed=seed)
    rows = [row for row in drawn for _ in range(plan.prompt_copies)]
    wanted, informative, num_samples = len(rows), list[int](), dict[int, int]()
    found: list[Collected] = []
    mine = partial(
        collect,
        sampler=source.sampler,
        graders=source.graders,
        chat=job.policy.chat,
        params=source.params,
        purpose="train",
        step=step,
        policy_step=step - 1,
        epoch=progress.memory.position / plan.num_rows,
    )
    for round_ in range(MAX_OVERDRAW):
        groups = [_group(job, source, row, step, num_samples) for row in rows]
        part = collect_shares(job.processes, groups, mine)
        found.append(part)
        log_grades(job, part.rollouts)
        rewards_GK = reward_table(part.groups)
        for row, rewards_K, taught in zip(rows, rewards_GK, is_informative(rewards_GK), strict=True):
            progress.memory.observe(row, informative=bool(taught))
            informative += [row] * bool(taught)
            if not np.isnan(rewards_K).all():
                progress.memory.observe_reward(row, float(np.nanmean(rewards_K)))
        rows = refill_rows(
            progress.memory,
            informative_rows=informative,
            wanted=wanted,
            drawn=sum(len(one.groups) for one in found),
            seed=seed,
            step=step,
            round_=round_,
        )
        if not rows:
            break
    progress.signal_seen |= bool(informative)
    progress.groups_seen += sum(len(one.groups) for one in found)
    progress.groups_informative += len(informative)
    return Collected(
        [group for one in found for group in one.groups],
        sampling_s=sum(one.sampling_s for one in found),
        grading_s=sum(one.grading_s for one in found),
        rows=frozenset(num_samples),
    )


def _group(job: Job[Plan], source: Rollouts, row: int, step: int, num_samples: dict[int, int]) -> Group:
    """The next group of a row; `num_samples` counts what the row already got in this step."""
    first = num_samples.get(row, 0)
    num_samples[row] = first + job.plan.group_size
    seeds = (stable_seed(job.spec.seed, "train", step, row, k) for k in range(first, num_samples[row]))
    return Group(source.data.train[row], tuple(seeds), first)


def log_grades(job: Job[Plan], rollouts: Sequence[Rollout]) -> None:
    """Count grades. Raises JobFailed when the grader fails too often."""
    for rollout in rollouts:
        failed = rollout.reward is None
        job.progress.grades.record((rollout.grade.message or "no message") if failed else None)


def reward_table(groups: Sequence[Sequence[Rollout]]) -> NDArray[np.float64]:
    """[G, K], NaN where the grade failed or only votes, and throughout a group whose outcome gate is shut."""
    rewards = [[r.reward if r.may_train and not is_shut(group) else math.nan for r in group] for group in groups]
    return np.array(rewards, dtype=np.float64)


def is_shut(group: Sequence[Rollout]) -> bool:
    """Whether the grader names a true outcome and no completion has a positive one.

    What such a group disagrees about is partial credit only, and to push that is to teach how to collect it.
    """
    outcomes = [rollout.grade.outcome for rollout in group if rollout.grade.outcome is not None]
    return bool(outcomes) and max(outcomes) <= 0


def probe_sample(groups: Sequence[Sequence[Rollout]]) -> list[Rollout]:
    """An eighth of the completions, spread over the groups: those that KL is measured on."""
    return [rollout for group in groups for rollout in group[: math.ceil(len(group) / 8)]]
