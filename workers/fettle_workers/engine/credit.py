"""Which completions train, and how hard each is pushed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fettle_workers.engine.advantage import Advantages, group_advantages, overlong_penalty
from fettle_workers.engine.plan import Plan
from fettle_workers.engine.progress import Progress
from fettle_workers.engine.rollout import Rollout
from fettle_workers.engine.sample_step import reward_table

# Above this share of completions cut off, being cut off costs reward instead of being left out of the loss.
MAX_TRUNCATION = 0.10
_DECAY = 0.9


def judge_groups(progress: Progress, plan: Plan, groups: Sequence[Sequence[Rollout]]) -> Advantages:
    """Advantages of all completions; long ones pay while too many are cut off."""
    rollouts = [rollout for group in groups for rollout in group]
    share = sum(rollout.is_truncated for rollout in rollouts) / len(rollouts)
    progress.truncation = share if progress.truncation is None else _DECAY * progress.truncation + (1 - _DECAY) * share
    rewards_GK = reward_table(groups)
    if progress.truncation > MAX_TRUNCATION:
        lengths_GK = np.array([[len(rollout.completion.ids) for rollout in group] for group in groups])
        # In units of the grader's usual spread, so that it weighs the same for every grader.
        rewards_GK = rewards_GK - (progress.reward_scale or 1.0) * overlong_penalty(
            lengths_GK, plan.max_completion_tokens
        )
    advantages = group_advantages(rewards_GK, progress.reward_scale)
    progress.reward_scale = advantages.scale
    return advantages


def choose_trained(progress: Progress, groups: Sequence[Sequence[Rollout]], advantages: Advantages) -> list[Rollout]:
    """Write each advantage on its completion, and return the completions that train.

    Failed grades and flat groups train nothing. A completion that was cut off counted in its group's mean, but its
    reward says little about its tokens: it is left out of the gradient, unless being cut off already costs reward.
    """
    trained = []
    length_costs = (progress.truncation or 0.0) > MAX_TRUNCATION
    for group, values, informative in zip(groups, advantages.values_GK, advantages.informative_G, strict=True):
        for rollout, value in zip(group, values, strict=True):
            if informative and rollout.reward is not None and (length_costs or not rollout.is_truncated):
                rollout.advantage = float(value)
                trained.append(rollout)
    return trained
