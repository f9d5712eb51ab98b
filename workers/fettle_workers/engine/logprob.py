"""Logprobs, entropy and exact KL of given tokens, by the training forward pass.

Letters in shapes: B rows, L tokens, N loss tokens (row by row), H hidden size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from fettle_workers.engine.model import Policy
from fettle_workers.engine.processes import Processes
from fettle_workers.engine.sequences import Microbatch, TokenSequence

# Logits held at once; above this the head runs in chunks that are computed again in the backward pass.
MAX_LOGITS = 2**27


@dataclass(frozen=True)
class TokenScores:
    """Of each loss token: logprob (with gradient), entropy of its distribution (with gradient only where that was asked
    for: it keeps another [N, V] for the backward pass), and whether it was the likeliest."""

    logprobs_N: Tensor
    entropy_N: Tensor
    correct_N: Tensor


def microbatches(policy: Policy, sequences: Sequence[TokenSequence]) -> Iterator[Microbatch]:
    """Cut sequences into forward passes of bounded size."""
    return policy.network.microbatches(sequences)


def score_tokens(
    policy: Policy, batch: Microbatch, *, temperature: float = 1.0, entropy_grad: bool = False
) -> TokenScores:
    """Scores of the loss tokens under softmax(logits / temperature), in fp32, differentiable in the adapter."""
    targets_N = batch.targets_N

    def score(logits_NV: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits_NV = logits_NV.float() if temperature == 1 else logits_NV.float() / temperature
        logprobs_NV = torch.log_softmax(logits_NV, dim=-1)
        plain_NV = logprobs_NV if entropy_grad else logprobs_NV.detach()
        entropy_N = -(plain_NV.exp() * plain_NV.clamp(min=-1e4)).sum(-1)
        logprobs_N = logprobs_NV.gather(1, targets[:, None])[:, 0]
        return logprobs_N, entropy_N, logprobs_N.detach() >= logprobs_NV.detach().amax(-1)

    parts = _per_chunk(policy, batch, lambda logits_NV, where: score(logits_NV, targets_N[where]))
    return TokenScores(*(torch.cat(column) for column in zip(*parts, strict=True)))


def exact_kl(policy: Policy, sequences: Sequence[TokenSequence]) -> tuple[float, int]:
    """KL(policy || base) over the whole vocabulary, summed over the loss tokens, and their number.

    The tokens were sampled from the policy, so the mean estimates the forward-sampled KL per token in nats. Taking the
    expectation over the vocabulary at every position leaves far less noise than k1, k2 or k3 of the sampled token.
    """
    if policy.is_base:  # two forward passes would find no difference
        return 0.0, sum(sum(sequence.in_loss) for sequence in sequences)
    total, num_tokens = 0.0, 0
    with torch.no_grad():
        for batch in microbatches(policy, sequences):
            hidden = policy.network.loss_hidden(batch)
            with policy.reference():
                base_hidden = policy.network.loss_hidden(batch)
            for where in _chunks(policy, hidden):
                logprobs_NV = torch.log_softmax(policy.network.head(hidden[where]), dim=-1)
                base_NV = torch.log_softmax(policy.network.head(base_hidden[where]), dim=-1)
                total += float((logprobs_NV.exp() * (logprobs_NV - base_NV).clamp(-1e4, 1e4)).sum())
            num_tokens += len(batch.targets_N)
    return max(0.0, total), num_tokens


def mean_kl(policy: Policy, sequences: Sequence[TokenSequence], processes: Processes) -> float:
    """The same in nats per loss token, with each process measuring its share of the sequences; 0 without any."""
    share = processes.share([len(sequence.ids) for sequence in sequences])
    parts = processes.gather(lambda: exact_kl(policy, sequences[share]))
    return sum(total for total, _ in parts) / max(1, sum(num_tokens for _, num_tokens in parts))


def kl_between(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Mean KL(before || after) per token of two lists of [N, V] logprobs."""
    total = sum(float((old.exp() * (old - new).clamp(-1e4, 1e4)).sum()) for old, new in zip(before, after, strict=True))
    mean = total / max(1, sum(len(old) for old in before))
    return max(0.0, mean) if math.isfinite(mean) else math.nan


def all_logprobs(policy: Policy, batches: Sequence[Microbatch]) -> list[Tensor]:
    """Logprobs of the whole vocabulary at the loss tokens, [N, V] for each batch. For small samples only."""
    with torch.no_grad():
        return [torch.log_softmax(policy.network.head(policy.network.loss_hidden(batch)), dim=-1) for batch in batches]


def sequence_logprobs(policy: Policy, sequences: Sequence[TokenSequence], *, temperature: float) -> list[Tensor]:
    """Logprobs of each sequence's loss tokens without gradient, on the CPU, in the order of `sequences`."""
    found: dict[int, Tensor] = {}
    with torch.no_grad():
        for batch in microbatches(policy, sequences):
            scores = score_tokens(policy, batch, temperature=temperature)
            for row, member in enumerate(batch.members):
                found[member] = scores.logprobs_N[batch.sequences_N == row].cpu()
    return [found[index] for index in range(len(sequences))]


def reference_logprobs(policy: Policy, sequences: Sequence[TokenSequence], *, temperature: float) -> list[Tensor]:
    """The same under the base."""
    with policy.reference():
        return sequence_logprobs(policy, sequences, temperature=temperature)


def _per_chunk(
    policy: Policy, batch: Microbatch, score: Callable[[Tensor, slice], tuple[Tensor, ...]]
) -> list[tuple[Tensor, ...]]:
    """Apply the head and `score` to the loss tokens, in chunks when their logits would not fit."""
    hidden = policy.network.loss_hidden(batch)
    chunks = _chunks(policy, hidden)
    if len(chunks) == 1 or not torch.is_grad_enabled():
        return [score(policy.network.head(hidden[where]), where) for where in chunks]

    def scored(part: Tensor, where: slice) -> tuple[Tensor, ...]:
        return score(policy.network.head(part), where)

    return [checkpoint(scored, hidden[where], where, use_reentrant=False) for where in chunks]


def _chunks(policy: Policy, hidden: Tensor) -> list[slice]:
    size = max(1, MAX_LOGITS // policy.num_logits)
    return [slice(start, start + size) for start in range(0, max(1, len(hidden)), size)]
