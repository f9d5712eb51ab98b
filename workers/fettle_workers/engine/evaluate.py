"""The policy on held-out rows, with the same random numbers for every checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fettle_workers.contract.events import Evaluation
from fettle_workers.engine.data import Row
from fettle_workers.engine.errors import JobFailed
from fettle_workers.engine.job import mean
from fettle_workers.engine.logprob import mean_kl
from fettle_workers.engine.model import Policy
from fettle_workers.engine.parts import watched_graders
from fettle_workers.engine.ports import GraderRunner, Sampler
from fettle_workers.engine.processes import Processes
from fettle_workers.engine.progress import Entry, mean_of_known
from fettle_workers.engine.rollout import Group, Purpose, Rollout, collect, collect_shares, grader_metrics
from fettle_workers.engine.sampler import SamplingParams
from fettle_workers.engine.seeds import stable_seed
from fettle_workers.engine.select import Items, mean_and_error


@dataclass(frozen=True)
class Evaluated:
    """One evaluation: its row of the table, the completions behind it, and what is told about it."""

    entry: Entry
    rollouts: list[Rollout]
    event: Evaluation
    total_s: float


def answer(
    rows: Sequence[Row],
    samples: range,
    *,
    purpose: Purpose,
    step: int,
    epoch: float,
    seed: int,
    policy: Policy,
    sampler: Sampler,
    graders: GraderRunner,
    params: SamplingParams,
    processes: Processes,
) -> list[list[Rollout]]:
    """Answer every row once for each number in `samples`; one group per row, in their order.

    The random numbers of an answer hang on (purpose, row, sample) and not on the step, so that two checkpoints are
    compared under the same luck. "eval" and "final" are one purpose to them: more samples of the same series.
    """
    series = "eval" if purpose == "final" else purpose
    groups = [
        Group(row, tuple(stable_seed(seed, series, row.source, row.index, k) for k in samples), samples.start)
        for row in rows
    ]
    mine = partial(
        collect,
        sampler=sampler,
        graders=graders,
        chat=policy.chat,
        params=params,
        purpose=purpose,
        step=step,
        policy_step=step,
        epoch=epoch,
    )
    return collect_shares(processes, groups, mine).groups


def evaluate_policy(
    rows: Sequence[Row],
    samples: range,
    *,
    step: int,
    epoch: float,
    seed: int,
    policy: Policy,
    sampler: Sampler,
    graders: GraderRunner,
    params: SamplingParams,
    processes: Processes,
    grader_spec: Any,
    in_sample: bool,
    known: list[list[Rollout]] | None = None,
) -> Evaluated:
    """Answer the rows, grade the answers, and measure KL to the base exactly on all of them.

    Args:
        grader_spec: the grader's definition (any kind of `GraderSpec`).
        known: the graded answers themselves, where they were already made.

    Raises:
        JobFailed: not one answer could be graded.
    """
    start = time.perf_counter()
    groups = known or answer(
        rows,
        samples,
        purpose="eval",
        step=step,
        epoch=epoch,
        seed=seed,
        policy=policy,
        sampler=sampler,
        graders=graders,
        params=params,
        processes=processes,
    )
    rollouts = [rollout for group in groups for rollout in group]
    if all(rollout.reward is None for rollout in rollouts):
        message = next((rollout.grade.message for rollout in rollouts if rollout.grade.message), "no message")
        raise JobFailed(
            "grader_error_rate_exceeded",
            f"all {len(rollouts)} grades of the evaluation at step {step} failed: {message}",
            param="method.reinforcement.grader",
        )
    entry = Entry(
        step=step,
        adapter_digest="",
        scores=scores_of(groups),
        kl_nats=mean_kl(policy, [rollout.sequence for rollout in rollouts], processes),
        truncated_share=sum(rollout.is_truncated for rollout in rollouts) / len(rollouts),
        tokens_mean=sum(len(rollout.completion.ids) for rollout in rollouts) / len(rollouts),
        watched={name: [_part_mean(group, name) for group in groups] for name in watched_graders(grader_spec)},
    )
    event = _event(entry, rollouts, grader_spec, in_sample=in_sample)
    return Evaluated(entry, rollouts, event, total_s=time.perf_counter() - start)


def _event(entry: Entry, rollouts: Sequence[Rollout], grader_spec: Any, *, in_sample: bool) -> Evaluation:
    return Evaluation(
        step=entry.step,
        mean=mean_and_error(entry.items)[0],
        standard_error=standard_error(entry),
        kl_nats=entry.kl_nats,
        num_items=len(entry.scores),
        samples_per_item=len(entry.scores[0]),
        in_sample=in_sample,
        item_means=tuple(None if math.isnan(value) else float(value) for value in entry.items),
        graders=tuple(grader_metrics(grader_spec, rollouts, prefix="valid")),
        completion_tokens_mean=entry.tokens_mean,
        reasoning_tokens_mean=mean([rollout.parsed.num_reasoning_tokens for rollout in rollouts]),
        truncated_share=entry.truncated_share,
    )


def standard_error(entry: Entry) -> float:
    """Between items; of a single item between its samples, and 0 when there is one sample of one item."""
    error = mean_and_error(entry.items)[1]
    if math.isfinite(error):
        return error
    error = mean_and_error(all_samples(entry.scores))[1]
    return error if math.isfinite(error) else 0.0


def scores_of(groups: Sequence[Sequence[Rollout]]) -> list[list[float | None]]:
    """`[item][sample]`, None where the grade failed.

    Of answers that vote, whether they are right where the row has a label: agreement rises by itself.
    """
    return [[_measured(rollout) for rollout in group] for group in groups]


def _measured(rollout: Rollout) -> float | None:
    vote = rollout.grade.vote
    return rollout.reward if vote is None or vote.is_right is None else float(vote.is_right)


def _part_mean(group: Sequence[Rollout], grader: str) -> float | None:
    """Mean score of one grader inside a multi grader, None when every grade failed."""
    mean = mean_of_known([rollout.grade.sub_scores.get(grader) for rollout in group])
    return None if math.isnan(mean) else mean


def all_samples(scores: Sequence[Sequence[float | None]]) -> Items:
    """Every score by itself, NaN where grading failed."""
    return np.array([math.nan if s is None else s for item in scores for s in item], dtype=np.float64)
