"""One optimizer step on graded completions, with its guards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fettle_workers.engine.advantage import kl_push
from fettle_workers.engine.job import Job
from fettle_workers.engine.learner import Gradients, warmed_up
from fettle_workers.engine.logprob import (
    MAX_LOGITS,
    Microbatch,
    TokenScores,
    TokenSequence,
    all_logprobs,
    kl_between,
    microbatches,
    reference_logprobs,
)
from fettle_workers.engine.loss import Loss, policy_gradient_loss
from fettle_workers.engine.model import Policy
from fettle_workers.engine.plan import Plan
from fettle_workers.engine.rollout import Rollout

# A single step that moves the policy further than this, in nats per token, is shortened until it does not. Ordinary
# steps of a stable run move it by less than 0.02; without the guard, rare steps were seen to move it by more than 1.
# Very short answers may move further: a tenth of the KL budget, which is per answer.
MAX_STEP_KL_NATS = 0.1
_STEP_SHARE_OF_BUDGET = 0.1
_MAX_HALVINGS = 5


@dataclass(frozen=True)
class Updated:
    """What one step did. `kl_nats` is the policy's distance to the base before the update."""

    lr: float
    kl_nats: float
    loss: float | None = None
    grad_norm: float | None = None
    entropy_nats: float | None = None


def update_policy(job: Job[Plan], trained: Sequence[Rollout], probes: Sequence[Rollout], *, step: int) -> Updated:
    """Take one step along the policy gradient of `trained` completions; each carries its advantage.

    Args:
        probes: completions on which KL is measured exactly, whether they train or not.
    """
    progress, plan = job.progress, job.plan
    probe = KlProbe(job.policy, probes)
    lr = plan.learning_rate * warmed_up(step, warmup_steps=plan.warmup_steps) * progress.health.lr_scale
    if not trained:
        return Updated(lr, probe.kl_to_base)
    sequences = [rollout.sequence for rollout in trained]
    sampled = [torch.tensor(rollout.completion.logprobs) for rollout in trained]
    advantages = _token_advantages(job, trained, sequences, sampled)

    def loss(batch: Microbatch, scores: TokenScores) -> Loss:
        sampled_N, advantages_N = (
            torch.cat([values[index] for index in batch.members]).to(job.policy.device)
            for values in (sampled, advantages)
        )
        return policy_gradient_loss(
            scores.logprobs_N, sampled_N, advantages_N, batch.sequences_N, num_sequences=len(batch.members)
        )

    gradients = job.learner.accumulate(sequences, loss, temperature=plan.temperature)
    _apply(job, gradients, probe, lr=lr, step=step)
    progress.trained_tokens += sum(len(sequence.ids) for sequence in sequences)
    return Updated(
        lr=lr,
        kl_nats=probe.kl_to_base,
        loss=_finite(gradients.loss),
        grad_norm=_finite(gradients.norm),
        entropy_nats=_finite(gradients.sums["entropy"] / gradients.sums["tokens"]),
    )


def _token_advantages(
    job: Job[Plan], trained: Sequence[Rollout], sequences: Sequence[TokenSequence], sampled: Sequence[Tensor]
) -> list[Tensor]:
    """One advantage per token of each completion; all equal unless a KL coefficient is on."""
    plain = [
        torch.full_like(logprobs, rollout.advantage or 0.0) for rollout, logprobs in zip(trained, sampled, strict=True)
    ]
    coef = job.progress.kl.coef if job.plan.kl_coef is None else job.plan.kl_coef
    if coef == 0:
        return plain
    base = reference_logprobs(job.policy, sequences, temperature=job.plan.temperature)
    k1_N = torch.cat(list(sampled)).double() - torch.cat(base).double()
    pushed_N = kl_push(torch.cat(plain).double().numpy(), k1_N.numpy(), coef)
    return list(torch.from_numpy(pushed_N).float().split([len(values) for values in plain]))


def _apply(job: Job[Plan], gradients: Gradients, probe: KlProbe, *, lr: float, step: int) -> None:
    """Update the weights unless the rules of health forbid it, and shorten a step that goes too far."""
    progress = job.progress
    sums = gradients.sums
    warning = progress.health.watch_masks(sums["masked_tokens"] / max(1.0, sums["tokens"]))
    if warning:
        job.say(warning, level="warn")
    if gradients.num_tokens == 0:
        return
    action = progress.health.judge_update(step, loss=gradients.loss, grad_norm=gradients.norm)
    if action == "apply":
        before = job.policy.adapter_tensors()
        job.learner.update(lr=lr, grad_norm=gradients.norm)
        limit = max(MAX_STEP_KL_NATS, _STEP_SHARE_OF_BUDGET * job.plan.kl_budget_nats)
        if probe.shorten(before, limit_nats=limit) and progress.health.count_shortened():
            count = progress.health.num_shortened
            job.say(f"step {step} would have moved the policy too far and was shortened ({count} so far)", level="warn")
        return
    job.say(
        f"step {step} was skipped: loss {gradients.loss:.4g}, gradient norm {gradients.norm:.4g} against a usual "
        f"{progress.health.usual_norm:.4g}",
        level="warn",
    )
    if action == "roll_back":
        job.return_to(progress.best(kl_budget_nats=job.plan.kl_budget_nats), "three of the last 20 steps were skipped")


class KlProbe:
    """Full-distribution KL on a small sample of tokens, before and after an update."""

    def __init__(self, policy: Policy, rollouts: Sequence[Rollout]) -> None:
        self._policy = policy
        vocabulary = policy.base.config.get_text_config(decoder=True).vocab_size
        sequences = _first_tokens(rollouts, max(64, MAX_LOGITS // vocabulary))
        self._batches = list(microbatches(sequences, policy.device))
        self._before = all_logprobs(policy, self._batches)
        with policy.reference():
            self.kl_to_base = kl_between(self._before, all_logprobs(policy, self._batches))

    def shorten(self, weights_before: dict[str, Tensor], *, limit_nats: float) -> bool:
        """Halve the step just taken until KL(before || after) per token is within the limit; in the end, take it back.

        Returns:
            Whether it had to be.
        """
        weights_after = self._policy.adapter_tensors()
        for halving in range(_MAX_HALVINGS + 1):
            if self._moved() <= limit_nats:  # NaN is not
                return halving > 0
            share = 0.5 ** (halving + 1) if halving < _MAX_HALVINGS else 0.0
            self._policy.set_adapter_tensors(
                {
                    name: old + share * (weights_after[name] - old) if share else old
                    for name, old in weights_before.items()
                }
            )
        return True

    def _moved(self) -> float:
        return kl_between(self._before, all_logprobs(self._policy, self._batches))


def _first_tokens(rollouts: Sequence[Rollout], max_tokens: int) -> list[TokenSequence]:
    """Completions, the last one cut short, with at most so many loss tokens together."""
    sequences: list[TokenSequence] = []
    for rollout in rollouts:
        ids = rollout.completion.ids[:max_tokens]
        if ids:
            sequences.append(TokenSequence.completion(rollout.row.prompt_ids, ids))
        max_tokens -= len(ids)
    return sequences


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
