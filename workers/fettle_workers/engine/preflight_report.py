"""What was measured before a job, as a report: numbers with bounds, and a verdict. Pure: no tensors, no clock."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fettle_graders.lab.intervals import Estimate, wilson
from fettle_graders.lab.scores import describe, histogram, percentile
from fettle_graders.lab.signal import mean_pass_at_k, row_state, signal_share
from fettle_workers.contract.events import Evaluation
from fettle_workers.contract.preflight import (
    SIGNAL_GROUP_SIZES,
    Bounded,
    Duration,
    GraderHealth,
    HeldOut,
    Memory,
    PassAt,
    PreflightReport,
    PreflightRow,
    PreflightSettings,
    Rewards,
    RowCounts,
    SignalShare,
    Speed,
)
from fettle_workers.engine.curriculum import MAX_OVERDRAW
from fettle_workers.engine.finish import NUM_FINALISTS
from fettle_workers.engine.plan import Plan
from fettle_workers.engine.preflight_verdict import judge_findings
from fettle_workers.engine.rollout import Rollout

PASS_THRESHOLD = 0.5
_UNREADABLE = ("sample_parse_error", "invalid_variable_error")
_NUM_MESSAGES = 5


@dataclass(frozen=True)
class Measured:
    """Raw material. `groups` are the answers to training rows, one group a row.

    `training_s` is the time of an update on `trained_tokens` tokens; None: it did not fit into memory.
    """

    settings: PreflightSettings
    groups: Sequence[Sequence[Rollout]]
    held_out: Evaluation | None
    sampling_s: float
    grading_s: float
    training_s: float | None
    trained_tokens: int
    memory: Memory

    @property
    def rollouts(self) -> list[Rollout]:
        return [rollout for group in self.groups for rollout in group]

    @property
    def rewards(self) -> list[list[float]]:
        """Of the graded answers, one list a row."""
        return [[rollout.reward for rollout in group if rollout.reward is not None] for group in self.groups]


def make_report(measured: Measured, plan: Plan, *, seed: int) -> PreflightReport:
    threshold = measured.settings.pass_threshold
    threshold = PASS_THRESHOLD if threshold is None else threshold
    rollouts, rewards = measured.rollouts, measured.rewards
    rows = tuple(
        PreflightRow(
            row=group[0].row.index,
            state=row_state(graded, pass_threshold=threshold),
            mean=math.fsum(graded) / len(graded) if graded else None,
            num_graded=len(graded),
            num_passed=sum(reward >= threshold for reward in graded),
        )
        for group, graded in zip(measured.groups, rewards, strict=True)
    )
    speed = _speed(measured)
    signal = _signal(rewards, plan.group_size, seed)
    report = PreflightReport(
        verdict="ready",
        summary="",
        findings=(),
        pass_threshold=threshold,
        num_rows=len(rows),
        samples_per_row=measured.settings.samples_per_row,
        num_answers=len(rollouts),
        num_graded=sum(map(len, rewards)),
        truncated_share=sum(rollout.is_truncated for rollout in rollouts) / len(rollouts),
        counts=_counts(rows),
        rows=rows,
        rewards=_rewards(rewards, seed),
        pass_at=_pass_at(rewards, measured.settings.samples_per_row, threshold, seed),
        signal=signal,
        grader=_grader_health(rollouts),
        held_out=_held_out(measured.held_out),
        speed=speed,
        duration=_duration(measured, plan, speed, planned_signal(signal)),
        memory=measured.memory,
    )
    verdict, summary, findings = judge_findings(report, plan, update_fits=measured.training_s is not None)
    return report.model_copy(update={"verdict": verdict, "summary": summary, "findings": findings})


def planned_signal(signal: Sequence[SignalShare]) -> Bounded | None:
    """The expected share at the group size of the job; None when nothing was graded."""
    return next((share.estimate for share in signal if share.planned), None)


def _counts(rows: Sequence[PreflightRow]) -> RowCounts:
    found = Counter(row.state for row in rows)
    return RowCounts(
        dead=found["dead"],
        teachable=found["teachable"],
        solved=found["solved"],
        ungraded=found["ungraded"],
        teachable_share=bounded(wilson(found["teachable"], len(rows))),
    )


def _rewards(rewards: Sequence[Sequence[float]], seed: int) -> Rewards | None:
    scores = describe(rewards, seed=seed)
    if scores is None:
        return None
    means = histogram([math.fsum(row) / len(row) for row in rewards if row])
    return Rewards(
        mean=bounded(scores.mean),
        std=scores.std,
        within_row_std=scores.within_row_std,
        share_zero=scores.share_zero,
        share_one=scores.share_one,
        histogram_edges=means.edges,
        histogram_counts=means.counts,
    )


def _pass_at(rewards: Sequence[Sequence[float]], samples: int, threshold: float, seed: int) -> tuple[PassAt, ...]:
    """pass@1, 2, 4, ... and at as many answers as were asked for."""
    ks = sorted({2**power for power in range(samples.bit_length()) if 2**power <= samples} | {samples})
    found = [(k, mean_pass_at_k(rewards, k, pass_threshold=threshold, seed=seed)) for k in ks]
    return tuple(PassAt(k=k, estimate=bounded(estimate)) for k, estimate in found if estimate is not None)


def _signal(rewards: Sequence[Sequence[float]], planned: int, seed: int) -> tuple[SignalShare, ...]:
    sizes = sorted({*SIGNAL_GROUP_SIZES, planned})
    found = [(size, signal_share(rewards, size, seed=seed)) for size in sizes]
    return tuple(
        SignalShare(group_size=size, planned=size == planned, estimate=bounded(estimate))
        for size, estimate in found
        if estimate is not None
    )


def _grader_health(rollouts: Sequence[Rollout]) -> GraderHealth:
    flags = Counter(flag for rollout in rollouts for flag in rollout.grade.errors.raised())
    failed = [rollout.grade.message or "no message" for rollout in rollouts if rollout.reward is None]
    unreadable = [
        rollout
        for rollout in rollouts
        if rollout.reward is not None and any(flag in _UNREADABLE for flag in rollout.grade.errors.raised())
    ]
    latencies = [rollout.grade.execution_time_s for rollout in rollouts]
    return GraderHealth(
        failed_share=len(failed) / len(rollouts),
        unreadable_share=len(unreadable) / len(rollouts),
        errors=dict(flags),
        messages=tuple(message for message, _ in Counter(failed).most_common(_NUM_MESSAGES)),
        latency_p50_s=percentile(latencies, 50),
        latency_p95_s=percentile(latencies, 95),
    )


def _held_out(evaluation: Evaluation | None) -> HeldOut | None:
    if evaluation is None:
        return None
    return HeldOut(
        num_items=evaluation.num_items,
        samples_per_item=evaluation.samples_per_item,
        mean=evaluation.mean,
        standard_error=evaluation.standard_error,
        in_sample=evaluation.in_sample,
    )


def _speed(measured: Measured) -> Speed:
    rollouts = measured.rollouts
    num_tokens = sum(len(rollout.completion.ids) for rollout in rollouts)
    trained = measured.trained_tokens / measured.training_s if measured.training_s else None
    return Speed(
        tokens_per_s=num_tokens / max(measured.sampling_s, 1e-9),
        completion_tokens_mean=num_tokens / len(rollouts),
        sampling_s=measured.sampling_s,
        grading_s=measured.grading_s,
        training_tokens_per_s=trained,
    )


def _duration(measured: Measured, plan: Plan, speed: Speed, signal: Bounded | None) -> Duration:
    """Steps, evaluations and the final measurements at the pace that was measured, as a range.

    A quarter less to half more, because the base's answers are a small sample and lengths change in training. At the
    upper end flat groups are replaced as often as a step may: up to three times the groups when few have a signal.
    """
    num_answers = len(measured.rollouts)
    answer_s = (measured.sampling_s + measured.grading_s) / num_answers
    prompt_tokens = sum(len(group[0].row.prompt_ids) for group in measured.groups) / len(measured.groups)
    update_s = (prompt_tokens + speed.completion_tokens_mean) / (speed.training_tokens_per_s or math.inf)
    evaluation = plan.select_items * plan.eval_samples
    # An evaluation reads its answers twice more, for the exact KL: two of the three passes of an update.
    evaluation_s = evaluation * (answer_s + update_s * 2 / 3)
    num_evaluations = 1 + math.ceil(plan.total_steps / plan.eval_interval)
    last_rounds = NUM_FINALISTS * plan.select_items * (plan.finalist_samples - plan.eval_samples)
    final_s = (last_rounds + 2 * plan.report_items * plan.final_samples) * answer_s
    shared = num_evaluations * evaluation_s + final_s
    share = signal.value if signal else 0.0
    overdraw = min(float(MAX_OVERDRAW), max(1.0, 0.5 / share if share else float(MAX_OVERDRAW)))
    steps_s = [
        plan.total_steps * plan.completions_per_step * (answer_s * drawn + update_s) for drawn in (1.0, overdraw)
    ]
    return Duration(
        total_steps=plan.total_steps,
        low_s=0.75 * (steps_s[0] + shared),
        high_s=1.5 * (steps_s[1] + shared),
        assumes=(
            f"{plan.total_steps} steps of {plan.completions_per_step} answers at the pace measured on this worker, "
            f"{num_evaluations} evaluations"
            + (f", up to {overdraw:.1f} times the groups where many are flat" if overdraw > 1 else "")
            + ("; early stopping may end it sooner" if plan.early_stopping else "")
        ),
    )


def bounded(estimate: Estimate) -> Bounded:
    low, high = (bound if math.isfinite(bound) else None for bound in (estimate.low, estimate.high))
    return Bounded(value=estimate.value, low=low, high=high)
