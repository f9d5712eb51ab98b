"""Which completions train, and how hard each is pushed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fettle_workers.engine.advantage import (
    Advantages,
    balanced_rewards,
    group_advantages,
    length_penalty,
    overlong_penalty,
)
from fettle_workers.engine.health import Finding
from fettle_workers.engine.plan import Plan
from fettle_workers.engine.progress import Progress
from fettle_workers.engine.rollout import Rollout
from fettle_workers.engine.sample_step import reward_table

# Above this share of completions cut off, being cut off costs reward instead of being left out of the loss.
MAX_TRUNCATION = 0.10
# With several updates in a step, completions that would hardly push are left out. Source: DASH, arXiv:2505.17218.
MIN_ADVANTAGE = 0.1
_DECAY = 0.9


def judge_groups(progress: Progress, plan: Plan, groups: Sequence[Sequence[Rollout]]) -> Advantages:
    """Advantages of all completions, after what being long costs."""
    rewards_GK = reward_table(groups)
    graded = rewards_GK[~np.isnan(rewards_GK)]
    if len(graded):
        extremes = [value for value in (progress.lowest_reward, progress.highest_reward) if value is not None]
        progress.lowest_reward = float(min(graded.min(), *extremes)) if extremes else float(graded.min())
        progress.highest_reward = float(max(graded.max(), *extremes)) if extremes else float(graded.max())
    costs_GK = _length_costs(progress, plan, groups, rewards_GK)
    plain = group_advantages(rewards_GK - costs_GK * (progress.reward_scale or 1.0), progress.reward_scale)
    progress.reward_scale = plain.scale
    if plan.grader_weights is None:
        return plain
    scores = {name: _score_table(groups, name) for name in plan.grader_weights}
    balanced_GK, progress.grader_scales = balanced_rewards(
        rewards_GK, scores, plan.grader_weights, progress.grader_scales
    )
    balanced = group_advantages(balanced_GK - costs_GK * (progress.balanced_scale or 1.0), progress.balanced_scale)
    progress.balanced_scale = balanced.scale
    return replace(plain, values_GK=balanced.values_GK, informative_G=balanced.informative_G)


def _score_table(groups: Sequence[Sequence[Rollout]], grader: str) -> NDArray[np.float64]:
    """[G, K] of one grader inside a multi grader, NaN where it failed."""
    scores = [[rollout.grade.sub_scores.get(grader) for rollout in group] for group in groups]
    return np.array(scores, dtype=np.float64)  # None becomes NaN


def watch_truncation(progress: Progress, groups: Sequence[Sequence[Rollout]]) -> Finding | None:
    """Whether being cut off costs reward from this step on, or no longer does."""
    rollouts = [rollout for group in groups for rollout in group]
    share = sum(rollout.is_truncated for rollout in rollouts) / len(rollouts)
    progress.truncation = share if progress.truncation is None else _DECAY * progress.truncation + (1 - _DECAY) * share
    was_on, progress.long_costs = progress.long_costs, progress.truncation > MAX_TRUNCATION
    if progress.long_costs == was_on:
        return None
    values = {"truncated_share": progress.truncation}
    if was_on:
        return Finding("overlong_penalty_off", "few completions are cut off any more", level="info", values=values)
    why = (
        f"{progress.truncation:.0%} of the completions reach the length limit: the last fifth of it now costs reward. "
        "If good answers need more room, raise max_completion_tokens"
    )
    return Finding("overlong_penalty_on", why, values=values)


def _length_costs(
    progress: Progress, plan: Plan, groups: Sequence[Sequence[Rollout]], rewards_GK: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[G, K], in units of the usual spread inside groups, so that length weighs the same for every grader."""
    lengths_GK = np.array([[len(rollout.completion.ids) for rollout in group] for group in groups])
    costs_GK = np.zeros(rewards_GK.shape)
    if progress.long_costs:
        costs_GK += overlong_penalty(lengths_GK, plan.max_completion_tokens)
    coef = length_coef(progress, plan)
    if coef and progress.lowest_reward is not None and progress.highest_reward is not None:
        costs_GK += coef * length_penalty(
            lengths_GK, rewards_GK, lowest=progress.lowest_reward, highest=progress.highest_reward
        )
    return costs_GK


def length_coef(progress: Progress, plan: Plan) -> float:
    return progress.length.coef if plan.length_penalty is None else plan.length_penalty


def choose_trained(
    progress: Progress, plan: Plan, groups: Sequence[Sequence[Rollout]], advantages: Advantages
) -> list[Rollout]:
    """Write each advantage on its completion, and return the completions that train.

    Failed grades and flat groups train nothing. A completion that was cut off counted in its group's mean, but its
    reward says little about its tokens: it is left out of the gradient, unless being cut off already costs reward.
    """
    trained = []
    smallest = MIN_ADVANTAGE if plan.updates_per_rollout > 1 else 0.0
    for group, values, informative in zip(groups, advantages.values_GK, advantages.informative_G, strict=True):
        for rollout, value in zip(group, values, strict=True):
            cut_off = rollout.is_truncated and not progress.long_costs
            if informative and rollout.may_train and not cut_off and abs(value) >= smallest:
                rollout.advantage = float(value)
                trained.append(rollout)
    return trained
