"""From rewards to advantages: what each completion is pushed by. Letters in shapes: G groups, K completions a group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EMA_DECAY = 0.9
MIN_STD = 1e-3
# Rewards closer than this, relative to their size, are equal: formulas leave rounding noise in the last digits.
EQUAL_REWARDS = 1e-6


@dataclass(frozen=True)
class Advantages:
    """Advantages of one step.

    Attributes:
        values_GK: zero where the completion has no part in the loss: its group is flat or its grade failed.
        informative_G: groups whose rewards differ.
        std_G: standard deviation inside each group (divisor: number of grades); NaN without any grade.
        scale: the moving average that the centred rewards were divided by; pass it on to the next step.
    """

    values_GK: NDArray[np.float64]
    informative_G: NDArray[np.bool_]
    std_G: NDArray[np.float64]
    scale: float | None


def group_advantages(rewards_GK: NDArray[np.float64], scale: float | None) -> Advantages:
    """Centre each reward on the mean of its group, then divide all by one slowly moving standard deviation.

    Args:
        rewards_GK: NaN where the grade failed; such a completion counts in no mean and gets no push.
        scale: moving average of the pooled standard deviation inside groups, None before the first informative step.

    The divisor is common to all groups. Dividing each group by its own deviation would give groups of almost equal
    rewards the weight of groups that disagree; not dividing would tie the learning rate to the user's reward scale.

    Source: centring, Shao et al. 2024, arXiv:2402.03300; no division per group, Liu et al. 2025, arXiv:2503.20783;
    division over the batch, arXiv:2508.08221.
    """
    graded_GK = ~np.isnan(rewards_GK)
    num_G = graded_GK.sum(axis=1)
    filled_GK = np.where(graded_GK, rewards_GK, 0.0)
    mean_G = filled_GK.sum(axis=1) / np.maximum(num_G, 1)
    centred_GK = np.where(graded_GK, rewards_GK - mean_G[:, None], 0.0)
    std_G = np.where(num_G > 0, np.sqrt((centred_GK**2).sum(axis=1) / np.maximum(num_G, 1)), np.nan)

    informative_G = is_informative(rewards_GK)
    scale = _updated_scale(scale, centred_GK[informative_G], graded_GK[informative_G])
    values_GK = np.where(informative_G[:, None], centred_GK, 0.0)
    if scale is not None:
        values_GK = values_GK / max(scale, MIN_STD)
    return Advantages(values_GK, informative_G, std_G, scale)


def balanced_rewards(
    rewards_GK: NDArray[np.float64],
    scores: Mapping[str, NDArray[np.float64]],
    weights: Mapping[str, float],
    scales: Mapping[str, float],
) -> tuple[NDArray[np.float64], dict[str, float]]:
    """The weighted sum of several graders after each was centred on its group and brought to the same spread.

    In the plain sum the grader of the widest range decides alone, whatever its weight. A group whose rewards are equal
    stays equal: its graders cancel each other out as the user's formula says they should.

    Args:
        rewards_GK: what the formula made of the scores; NaN where the completion has no part.
        scores: [G, K] of each grader.
        scales: moving averages of each grader's deviation inside groups, so far; the new ones are returned.

    Source: each reward normalised by itself, GDPO, arXiv:2601.05242, with the moving divisor of `group_advantages`.
    """
    has_part_GK = ~np.isnan(rewards_GK)
    balanced_GK, new_scales = np.zeros(rewards_GK.shape), dict(scales)
    for name, weight in weights.items():
        own = group_advantages(np.where(has_part_GK, scores[name], np.nan), scales.get(name))
        balanced_GK += weight * own.values_GK
        if own.scale is not None:
            new_scales[name] = own.scale
    balanced_GK[~is_informative(rewards_GK)] = 0.0
    return np.where(has_part_GK, balanced_GK, np.nan), new_scales


def is_informative(rewards_GK: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[G]: whether two grades of a group differ by more than rounding. NaN is no grade."""
    graded_GK = ~np.isnan(rewards_GK)
    highest_G = np.where(graded_GK, rewards_GK, -np.inf).max(axis=1)
    lowest_G = np.where(graded_GK, rewards_GK, np.inf).min(axis=1)
    several_G = graded_GK.sum(axis=1) >= 2
    size_G = np.maximum(1.0, np.abs(np.where(several_G, highest_G, 0.0)))
    return several_G & (np.where(several_G, highest_G - lowest_G, 0.0) > EQUAL_REWARDS * size_G)


def _updated_scale(scale: float | None, centred: NDArray[np.float64], graded: NDArray[np.bool_]) -> float | None:
    """Flat groups are left out, as they are of the loss: else the push would grow while items become solved."""
    if not graded.any():
        return scale
    pooled = float(np.sqrt((centred**2).sum() / graded.sum()))
    return pooled if scale is None else EMA_DECAY * scale + (1 - EMA_DECAY) * pooled


def overlong_penalty(num_tokens: NDArray[np.int64], max_tokens: int) -> NDArray[np.float64]:
    """0 up to 80 % of the completion budget, then rising linearly to 1 at the budget.

    Source: soft overlong punishment, DAPO, Yu et al. 2025, arXiv:2503.14476.
    """
    start = 0.8 * max_tokens
    return np.clip((num_tokens - start) / (max_tokens - start), 0.0, 1.0)


def length_penalty(
    num_tokens_GK: NDArray[np.int64], rewards_GK: NDArray[np.float64], *, lowest: float, highest: float
) -> NDArray[np.float64]:
    """Length relative to the group's longest, times the group's pass rate; 0 in groups of equal reward.

    The pass rate is where the group's mean lies between the lowest and the highest reward of the job so far. So hard
    prompts may be thought about at length, and a prompt that is always solved is not pushed towards brevity alone.

    Source: prime-rl's length shaping; taken off the reward before the baseline.
    """
    if highest <= lowest:
        return np.zeros(num_tokens_GK.shape)
    informative_G = is_informative(rewards_GK)
    mean_G = np.nanmean(np.where(informative_G[:, None], rewards_GK, 0.0), axis=1)
    pass_rate_G = np.where(informative_G, (mean_G - lowest) / (highest - lowest), 0.0)
    return np.clip(pass_rate_G, 0.0, 1.0)[:, None] * num_tokens_GK / num_tokens_GK.max(axis=1, keepdims=True)


def kl_push(advantages_N: NDArray[np.float64], k1_N: NDArray[np.float64], coef: float) -> NDArray[np.float64]:
    """Advantages of tokens with the penalty `coef * (k1 - mean k1)` taken off.

    k1 is `log policy - log base` of the sampled token, whose mean estimates KL(policy || base). Centred, it moves
    probability between tokens without a push common to all.

    Source: k1 in the reward is the unbiased choice, arXiv:2512.21852 and arXiv:2510.01555.
    """
    if coef == 0 or not len(k1_N):
        return advantages_N
    return advantages_N - coef * (k1_N - k1_N.mean())
