"""Loss functions: flat tensors in, a sum and its token count out. N is the loss tokens of a microbatch.

The caller divides by the count over all microbatches of the step, so that how a step is cut changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_WEIGHT = 5.0
TOKEN_RATIO = (0.5, 5.0)
# Geometric mean over a sequence, when learner and sampler have the same weights and when the learner is ahead.
SEQUENCE_RATIO, STALE_SEQUENCE_RATIO = (0.99, 1.01), (0.95, 1.05)
MAX_SHIFT = 0.2


@dataclass(frozen=True)
class Loss:
    """`total` is the differentiable sum over unmasked tokens; `sums` are detached sums for the metrics."""

    total: Tensor
    num_tokens: Tensor
    sums: dict[str, Tensor]


def policy_gradient_loss(
    logprobs_N: Tensor,
    sampled_logprobs_N: Tensor,
    advantages_N: Tensor,
    sequences_N: Tensor,
    *,
    num_sequences: int,
    several_updates: bool = False,
    is_stale: bool = False,
    entropy_N: Tensor | None = None,
    entropy_coef: float = 0.0,
) -> Loss:
    """Sum of `-stopgrad(min(exp(p - mu), 5)) * A * p` over the tokens on which sampler and learner agree.

    Args:
        logprobs_N: p, logprobs of the drawn tokens by the learner, at the sampling temperature.
        sampled_logprobs_N: mu, the same by the sampler when it drew them.
        advantages_N: A of each token.
        sequences_N: number of the sequence each token belongs to, below `num_sequences`.
        several_updates: the batch is trained on in several updates.
        is_stale: the learner was updated since the completions were sampled.
        entropy_N, entropy_coef: entropy of each token's distribution, which earns this much per nat.

    A token is dropped when `exp(p - mu)` leaves [0.5, 5]; a sequence when its geometric mean of the ratio leaves
    [0.99, 1.01]: with one update per batch the two can differ by numerics only, and large differences are errors. A
    learner that is ahead may differ by more, [0.95, 1.05]. With several updates a token is dropped, too, once its
    probability has moved by 0.2 in the direction in which its advantage pushes.

    Source: weights as in CISPO, arXiv:2506.13585; masks as in IcePop and GSPO's sequence ratio, arXiv:2507.18071; the
    limit on the shift of probability, DPPO, as in prime-rl.
    """
    difference_N = logprobs_N.detach() - sampled_logprobs_N
    ratio_N = difference_N.exp()
    token_ok_N = (ratio_N >= TOKEN_RATIO[0]) & (ratio_N <= TOKEN_RATIO[1])
    limits = STALE_SEQUENCE_RATIO if is_stale else SEQUENCE_RATIO
    sequence_ok_S = _sequence_agrees(difference_N, sequences_N, num_sequences, limits)
    kept_N = token_ok_N & sequence_ok_S[sequences_N]
    if several_updates:
        shift_N = logprobs_N.detach().exp() - sampled_logprobs_N.exp()
        kept_N &= ~((shift_N * advantages_N.sign()) > MAX_SHIFT)

    weight_N = ratio_N.clamp(max=MAX_WEIGHT)
    # `where`, not a product: a masked token may carry an infinite logprob, and 0 * inf is NaN.
    total = -torch.where(kept_N, weight_N * advantages_N * logprobs_N, 0.0).sum()
    if entropy_N is not None and entropy_coef:
        total = total - entropy_coef * torch.where(kept_N, entropy_N, 0.0).sum()
    sums = {
        "tokens": torch.tensor(float(len(logprobs_N))),
        "nan_tokens": logprobs_N.detach().isnan().sum().float(),
        "masked_tokens": (~kept_N).sum().float(),
        "sequences": torch.tensor(float(num_sequences)),
        "masked_sequences": (~sequence_ok_S).sum().float(),
        # k3 of sampler against learner: near 0 unless their numerics disagree. Clamped: one token is not all of them.
        "mismatch_kl": _k3(difference_N.clamp(-10.0, 5.0)).sum(),
    }
    return Loss(total, kept_N.sum(), sums)


def _k3(difference_N: Tensor) -> Tensor:
    return difference_N.exp() - 1 - difference_N


def _sequence_agrees(
    difference_N: Tensor, sequences_N: Tensor, num_sequences: int, limits: tuple[float, float]
) -> Tensor:
    zeros_S = torch.zeros(num_sequences, dtype=difference_N.dtype, device=difference_N.device)
    sum_S = zeros_S.index_add(0, sequences_N, difference_N)
    count_S = zeros_S.index_add(0, sequences_N, torch.ones_like(difference_N))
    mean_S = sum_S / count_S.clamp(min=1)
    return (mean_S >= math.log(limits[0])) & (mean_S <= math.log(limits[1]))


def next_token_loss(logprobs_N: Tensor, correct_N: Tensor) -> Loss:
    """Sum of the negative logprobs of the target tokens, and how many of them were the most likely token."""
    sums = {"tokens": torch.tensor(float(len(logprobs_N))), "correct": correct_N.sum().float()}
    return Loss(-logprobs_N.sum(), torch.tensor(len(logprobs_N), device=logprobs_N.device), sums)
