"""One step on graded completions, in one or several optimizer updates, with its guards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from fettle_workers.engine.advantage import kl_push
from fettle_workers.engine.health import Finding
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
from fettle_workers.engine.processes import Processes
from fettle_workers.engine.rollout import Rollout

# A single step that moves the policy further than this, in nats per token, is shortened until it does not. Ordinary
# steps of a stable run move it by less than 0.02; without the guard, rare steps were seen to move it by more than 1.
# Very short answers may move further: a tenth of the KL budget, which is per answer.
MAX_STEP_KL_NATS = 0.1
_STEP_SHARE_OF_BUDGET = 0.1
_MAX_HALVINGS = 5


@dataclass(frozen=True)
class Updated:
    """What one step did. `kl_nats` is the policy's distance to the base before it.

    `masked_share` and `mismatch_kl_nats` are of the first update, when learner and sampler have the same weights.
    """

    lr: float
    kl_nats: float
    loss: float | None = None
    grad_norm: float | None = None
    entropy_nats: float | None = None
    masked_share: float | None = None
    mismatch_kl_nats: float | None = None


def update_policy(job: Job[Plan], trained: Sequence[Rollout], probes: Sequence[Rollout], *, step: int) -> Updated:
    """Take a step along the policy gradient of `trained` completions, in one or several updates.

    Args:
        trained: each carries its advantage.
        probes: completions on which KL is measured exactly, whether they train or not.
    """
    probe = KlProbe(job.policy, probes, job.processes)
    done = list[Gradients]()
    for number, part in enumerate(increments(trained, job.plan.updates_per_rollout)):
        gradients = _gradients(job, part, is_stale=number > 0)
        done.append(gradients)
        job.progress.trained_tokens += sum(len(rollout.sequence.ids) for rollout in part)
        if not _apply(job, gradients, probe, lr=_lr(job, step, number), step=step, is_first=number == 0):
            break
    lr = _lr(job, step, max(0, len(done) - 1))
    if not done:
        return Updated(lr, probe.kl_to_base)
    first, tokens = done[0].sums, sum(gradients.sums["tokens"] for gradients in done)
    return Updated(
        lr=lr,
        kl_nats=probe.kl_to_base,
        loss=_finite(sum(gradients.loss for gradients in done) / len(done)),
        grad_norm=_finite(done[-1].norm),
        entropy_nats=_finite(sum(gradients.sums["entropy"] for gradients in done) / tokens),
        masked_share=first["masked_tokens"] / first["tokens"],
        mismatch_kl_nats=_finite(first["mismatch_kl"] / first["tokens"]),
    )


def increments(trained: Sequence[Rollout], num_updates: int) -> list[Sequence[Rollout]]:
    """The completions in so many parts of nearly equal size, none of them empty."""
    bounds = [round(number * len(trained) / num_updates) for number in range(num_updates + 1)]
    return [trained[start:stop] for start, stop in pairwise(bounds) if start < stop]


def _lr(job: Job[Plan], step: int, number: int) -> float:
    """Learning rate of the update with this number in the step."""
    plan, progress = job.plan, job.progress
    since = step - 1 - progress.warm_from + (number + 1) / plan.updates_per_rollout
    return plan.learning_rate * warmed_up(since, warmup_steps=plan.warmup_steps) * progress.health.lr_scale


def _gradients(job: Job[Plan], trained: Sequence[Rollout], *, is_stale: bool) -> Gradients:
    plan, entropy_coef = job.plan, job.progress.entropy.coef
    sequences = [rollout.sequence for rollout in trained]
    sampled = [torch.tensor(rollout.completion.logprobs) for rollout in trained]
    advantages = _token_advantages(job, trained, sequences, sampled)

    def loss(batch: Microbatch, scores: TokenScores) -> Loss:
        sampled_N, advantages_N = (
            torch.cat([values[index] for index in batch.members]).to(job.policy.device)
            for values in (sampled, advantages)
        )
        return policy_gradient_loss(
            scores.logprobs_N,
            sampled_N,
            advantages_N,
            batch.sequences_N,
            num_sequences=len(batch.members),
            several_updates=plan.updates_per_rollout > 1,
            is_stale=is_stale,
            entropy_N=scores.entropy_N,
            entropy_coef=entropy_coef,
        )

    return job.learner.accumulate(sequences, loss, temperature=plan.temperature, entropy_grad=entropy_coef > 0)


def kl_coef(job: Job[Plan]) -> float:
    return job.progress.kl.coef if job.plan.kl_coef is None else job.plan.kl_coef


def _token_advantages(
    job: Job[Plan], trained: Sequence[Rollout], sequences: Sequence[TokenSequence], sampled: Sequence[Tensor]
) -> list[Tensor]:
    """One advantage per token of each completion; all equal unless a KL coefficient is on."""
    plain = [
        torch.full_like(logprobs, rollout.advantage or 0.0) for rollout, logprobs in zip(trained, sampled, strict=True)
    ]
    coef = kl_coef(job)
    if coef == 0:
        return plain
    base = job.processes.split(
        sequences, lambda mine: reference_logprobs(job.policy, mine, temperature=job.plan.temperature)
    )
    k1_N = torch.cat(list(sampled)).double() - torch.cat(base).double()
    pushed_N = kl_push(torch.cat(plain).double().numpy(), k1_N.numpy(), coef)
    return list(torch.from_numpy(pushed_N).float().split([len(values) for values in plain]))


def _apply(job: Job[Plan], gradients: Gradients, probe: KlProbe, *, lr: float, step: int, is_first: bool) -> bool:
    """Update the weights unless the rules of health forbid it, and shorten a step that goes too far.

    Returns:
        Whether the weights were updated.
    """
    health, sums, budget = job.progress.health, gradients.sums, job.plan.kl_budget_nats
    tokens = max(1.0, sums["tokens"])
    masked = health.watch_masks(sums["masked_tokens"] / tokens) if is_first else None
    if masked is not None:
        job.act(masked, kl_budget_nats=budget)
    # A learner that is ahead differs from the sampler by what it learned.
    mismatch_kl = sums["mismatch_kl"] / tokens if is_first and math.isfinite(sums["mismatch_kl"]) else 0.0
    loss = math.nan if sums["nan_tokens"] else gradients.loss
    finding = health.judge_update(step, loss=loss, grad_norm=gradients.norm, mismatch_kl=mismatch_kl)
    if finding is not None:
        job.act(finding, kl_budget_nats=budget)
    if not gradients.num_tokens or (finding is not None and finding.action != "tell"):
        return False
    before = job.policy.adapter_tensors()
    job.learner.update(lr=lr, grad_norm=gradients.norm)
    limit = max(MAX_STEP_KL_NATS, _STEP_SHARE_OF_BUDGET * budget)
    if probe.shorten(before, limit_nats=limit):
        why = f"step {step} would have moved the policy further than {limit:.2f} nats per token and was shortened"
        job.act(Finding("step_shortened", why, values={"limit_nats": limit}), kl_budget_nats=budget)
    return True


class KlProbe:
    """Full-distribution KL on a small sample of tokens, before and after an update."""

    def __init__(self, policy: Policy, rollouts: Sequence[Rollout], processes: Processes) -> None:
        self._policy, self._processes = policy, processes
        vocabulary = policy.num_logits
        sequences = _first_tokens(rollouts, max(64, MAX_LOGITS // vocabulary))
        self._batches = list(microbatches(policy, sequences))
        self._before = all_logprobs(policy, self._batches)
        with policy.reference():
            self.kl_to_base = processes.agree(lambda: kl_between(self._before, all_logprobs(policy, self._batches)))

    def shorten(self, weights_before: dict[str, Tensor], *, limit_nats: float) -> bool:
        """Halve the step just taken until KL(before || after) per token is within the limit; in the end, take it back.

        Returns:
            Whether it had to be.
        """
        weights_after = self._policy.adapter_tensors()
        for halving in range(_MAX_HALVINGS + 1):
            if self._processes.agree(self._moved) <= limit_nats:  # NaN is not
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
