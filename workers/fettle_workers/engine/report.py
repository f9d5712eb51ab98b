"""What is told about a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fettle_workers.contract.events import StepMetrics, Timing
from fettle_workers.engine.advantage import Advantages
from fettle_workers.engine.credit import length_coef
from fettle_workers.engine.health import Signs
from fettle_workers.engine.job import Job, mean
from fettle_workers.engine.plan import Plan
from fettle_workers.engine.rollout import Collected, grader_metrics
from fettle_workers.engine.update import Updated, kl_coef
from fettle_workers.engine.vote import votes


@dataclass(frozen=True)
class StepReport:
    """One training step: what was sampled, what it was worth, and what was done with it."""

    drawn: Collected
    advantages: Advantages
    updated: Updated
    signs: Signs
    training_s: float
    total_s: float


def step_metrics(job: Job[Plan], report: StepReport, *, eval_s: float) -> StepMetrics:
    """The step as the platform shows it. `eval_s` is the time of the evaluation after it, 0 without one."""
    plan, progress, updated = job.plan, job.progress, report.updated
    rollouts = report.drawn.rollouts
    rewards = [rollout.reward for rollout in rollouts if rollout.reward is not None]
    std_G = report.advantages.std_G[~np.isnan(report.advantages.std_G)]
    num_tokens = sum(len(rollout.completion.ids) for rollout in rollouts)
    unresponsive = sum(rollout.grade.errors.unresponsive_reward_error for rollout in rollouts)
    held = votes(report.drawn.groups)
    return StepMetrics(
        step=progress.step,
        total_steps=plan.total_steps,
        epoch=progress.memory.position / plan.num_rows,
        lr=updated.lr,
        loss=updated.loss,
        grad_norm=updated.grad_norm,
        train_reward_mean=mean(rewards),
        train_reward_std=float(std_G.mean()) if len(std_G) else None,
        graders=tuple(grader_metrics(job.spec.method.grader, rollouts, prefix="train")),
        kl_nats=updated.kl_nats,
        entropy_nats=updated.entropy_nats,
        completion_tokens_mean=num_tokens / len(rollouts),
        reasoning_tokens_mean=mean([rollout.parsed.num_reasoning_tokens for rollout in rollouts]),
        truncated_share=sum(rollout.is_truncated for rollout in rollouts) / len(rollouts),
        informative_group_share=float(report.advantages.informative_G.mean()),
        masked_share=updated.masked_share,
        mismatch_kl_nats=updated.mismatch_kl_nats,
        repeated_share=report.signs.repeated_share,
        entropy_coef=progress.entropy.coef,
        kl_coef=kl_coef(job),
        length_coef=length_coef(progress, plan),
        majority_share=mean([vote.share for vote in held]),
        canary_accuracy=mean([float(vote.winner_is_right) for vote in held if vote.winner_is_right is not None]),
        unresponsive_share=unresponsive / len(rollouts),
        num_completions=len(rollouts),
        num_failed_grades=len(rollouts) - len(rewards),
        trained_tokens=progress.trained_tokens,
        tokens_per_s=num_tokens / report.total_s,
        eta_s=job.eta_s(),
        timing=Timing(
            sampling_s=report.drawn.sampling_s,
            grading_s=report.drawn.grading_s,
            training_s=report.training_s,
            eval_s=eval_s,
            total_s=report.total_s + eval_s,
        ),
    )
