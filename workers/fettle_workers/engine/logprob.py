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
from fettle_workers.engine.prefix import SharedPrompts, can_share, share_prompts, shared_hidden

# Padded tokens of one forward pass. Small rows of equal length beat one large padded batch on a CPU.
CPU_TOKENS, GPU_TOKENS = 4096, 16_384
# Logits held at once; above this the head runs in chunks that are computed again in the backward pass.
MAX_LOGITS = 2**27
# Settings by which an architecture changes its logits after the head.
_SCALED_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")


@dataclass(frozen=True)
class TokenSequence:
    """A sequence and which of its tokens are in the loss; the first never is, nothing predicts it."""

    ids: tuple[int, ...]
    in_loss: tuple[bool, ...]

    @classmethod
    def completion(cls, prompt_ids: Sequence[int], ids: Sequence[int]) -> TokenSequence:
        return cls((*prompt_ids, *ids), (False,) * len(prompt_ids) + (True,) * len(ids))


@dataclass(frozen=True)
class Microbatch:
    """Sequences padded to one length. `members` are their numbers in the list that was cut.

    `sequences_N` numbers the sequence of each loss token within the microbatch. `shared` is the same with prompts that
    several sequences have in common taken apart, where that saves work.
    """

    members: tuple[int, ...]
    ids_BL: Tensor
    mask_BL: Tensor
    loss_BL: Tensor
    targets_N: Tensor
    sequences_N: Tensor
    shared: SharedPrompts | None = None


@dataclass(frozen=True)
class TokenScores:
    """Of each loss token: logprob (with gradient), entropy of its distribution, and whether it was the likeliest."""

    logprobs_N: Tensor
    entropy_N: Tensor
    correct_N: Tensor


def microbatches(sequences: Sequence[TokenSequence], device: torch.device) -> Iterator[Microbatch]:
    """Cut sequences, longest first, into padded batches under the device's token budget."""
    budget = CPU_TOKENS if device.type == "cpu" else GPU_TOKENS
    order = sorted(range(len(sequences)), key=lambda index: (-len(sequences[index].ids), index))
    start = 0
    while start < len(order):
        longest = len(sequences[order[start]].ids)
        stop = start + max(1, budget // longest)
        yield _padded([sequences[index] for index in order[start:stop]], tuple(order[start:stop]), device)
        start = stop


def _padded(sequences: Sequence[TokenSequence], members: tuple[int, ...], device: torch.device) -> Microbatch:
    longest = max(len(sequence.ids) for sequence in sequences)
    ids = torch.zeros(len(sequences), longest, dtype=torch.long)
    mask = torch.zeros(len(sequences), longest, dtype=torch.long)
    loss = torch.zeros(len(sequences), longest, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
        mask[row, : len(sequence.ids)] = 1
        loss[row, : len(sequence.ids)] = torch.tensor(sequence.in_loss)
    loss[:, 0] = False
    rows = torch.arange(len(sequences))[:, None].expand_as(loss)
    shared = share_prompts([(sequence.ids, sequence.in_loss) for sequence in sequences], device)
    return Microbatch(members, *(tensor.to(device) for tensor in (ids, mask, loss, ids[loss], rows[loss])), shared)


def score_tokens(policy: Policy, batch: Microbatch, *, temperature: float = 1.0) -> TokenScores:
    """Scores of the loss tokens under softmax(logits / temperature), in fp32, differentiable in the adapter."""
    targets_N = batch.targets_N

    def score(logits_NV: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logprobs_NV = torch.log_softmax(logits_NV.float() / temperature, dim=-1)
        plain_NV = logprobs_NV.detach()
        entropy_N = -(plain_NV.exp() * plain_NV.clamp(min=-1e4)).sum(-1)
        return logprobs_NV.gather(1, targets[:, None])[:, 0], entropy_N, plain_NV.argmax(-1) == targets

    parts = _per_chunk(policy, batch, lambda logits_NV, where: score(logits_NV, targets_N[where]))
    return TokenScores(*(torch.cat(column) for column in zip(*parts, strict=True)))


def exact_kl(policy: Policy, sequences: Sequence[TokenSequence]) -> tuple[float, int]:
    """KL(policy || base) over the whole vocabulary, summed over the loss tokens, and their number.

    The tokens were sampled from the policy, so the mean estimates the forward-sampled KL per token in nats. Taking the
    expectation over the vocabulary at every position leaves far less noise than k1, k2 or k3 of the sampled token.
    """
    total, num_tokens = 0.0, 0
    with torch.no_grad():
        for batch in microbatches(sequences, policy.device):
            hidden = _loss_hidden(policy, batch)
            with policy.reference():
                base_hidden = _loss_hidden(policy, batch)
            for where in _chunks(policy, hidden):
                logprobs_NV = torch.log_softmax(_head(policy, hidden[where]), dim=-1)
                base_NV = torch.log_softmax(_head(policy, base_hidden[where]), dim=-1)
                total += float((logprobs_NV.exp() * (logprobs_NV - base_NV).clamp(-1e4, 1e4)).sum())
            num_tokens += len(batch.targets_N)
    return max(0.0, total), num_tokens


def kl_between(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Mean KL(before || after) per token of two lists of [N, V] logprobs."""
    total = sum(float((old.exp() * (old - new).clamp(-1e4, 1e4)).sum()) for old, new in zip(before, after, strict=True))
    mean = total / max(1, sum(len(old) for old in before))
    return max(0.0, mean) if math.isfinite(mean) else math.nan


def all_logprobs(policy: Policy, batches: Sequence[Microbatch]) -> list[Tensor]:
    """Logprobs of the whole vocabulary at the loss tokens, [N, V] for each batch. For small samples only."""
    with torch.no_grad():
        return [torch.log_softmax(_head(policy, _loss_hidden(policy, batch)), dim=-1) for batch in batches]


def reference_logprobs(policy: Policy, sequences: Sequence[TokenSequence], *, temperature: float) -> list[Tensor]:
    """Logprobs of each sequence's loss tokens under the base, in the order of `sequences`."""
    found: dict[int, Tensor] = {}
    with torch.no_grad(), policy.reference():
        for batch in microbatches(sequences, policy.device):
            scores = score_tokens(policy, batch, temperature=temperature)
            for row, member in enumerate(batch.members):
                found[member] = scores.logprobs_N[batch.sequences_N == row].cpu()
    return [found[index] for index in range(len(sequences))]


def _per_chunk(
    policy: Policy, batch: Microbatch, score: Callable[[Tensor, slice], tuple[Tensor, ...]]
) -> list[tuple[Tensor, ...]]:
    """Apply the head and `score` to the loss tokens, in chunks when their logits would not fit."""
    hidden = _loss_hidden(policy, batch)
    chunks = _chunks(policy, hidden)
    if len(chunks) == 1 or not torch.is_grad_enabled():
        return [score(_head(policy, hidden[where]), where) for where in chunks]

    def scored(part: Tensor, where: slice) -> tuple[Tensor, ...]:
        return score(_head(policy, part), where)

    return [checkpoint(scored, hidden[where], where, use_reentrant=False) for where in chunks]


def _chunks(policy: Policy, hidden: Tensor) -> list[slice]:
    size = max(1, MAX_LOGITS // policy.base.config.get_text_config(decoder=True).vocab_size)
    return [slice(start, start + size) for start in range(0, max(1, len(hidden)), size)]


def _loss_hidden(policy: Policy, batch: Microbatch) -> Tensor:
    """What the head needs for the loss tokens only: hidden states [N, H], or the logits [N, V] of odd architectures.

    Sequences are padded on the right, where causal attention needs no mask.
    """
    predicted_BL = batch.loss_BL[:, 1:]
    if not _has_plain_head(policy):
        return policy.logits(batch.ids_BL, batch.mask_BL)[:, :-1][predicted_BL]
    if batch.shared is not None and can_share(policy):
        return shared_hidden(policy, batch.shared)
    inputs = {} if policy.takes_positions else {"attention_mask": batch.mask_BL}
    output = policy.base.base_model(input_ids=batch.ids_BL, use_cache=False, **inputs)
    return output.last_hidden_state[:, :-1][predicted_BL]


def _head(policy: Policy, hidden: Tensor) -> Tensor:
    return policy.base.get_output_embeddings()(hidden).float() if _has_plain_head(policy) else hidden


def _has_plain_head(policy: Policy) -> bool:
    """Whether logits are the head's output and nothing more, so that the head can run on the loss tokens alone."""
    config = policy.base.config.get_text_config(decoder=True)
    scaled = any(getattr(config, name, None) not in (None, 1, 1.0) for name in _SCALED_LOGITS)
    return not scaled and policy.base.base_model is not policy.base
