"""Before a job: the base answers some training rows and all held-out ones, is graded, and takes one update for timing.

The held-out rows are answered exactly as the job's first evaluation would, so that the job can take the answers over.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from fettle_workers.contract.events import Preflighted, Stopped
from fettle_workers.contract.preflight import Memory, PreflightSettings, Step0Settings
from fettle_workers.engine.data import Row
from fettle_workers.engine.errors import JobFailed
from fettle_workers.engine.evaluate import Evaluated, evaluate_policy
from fettle_workers.engine.job import Job
from fettle_workers.engine.plan import Plan
from fettle_workers.engine.preflight_report import Measured, make_report
from fettle_workers.engine.rollout import Group, Rollout, collect, collect_shares
from fettle_workers.engine.sample_step import Rollouts, probe_sample
from fettle_workers.engine.seeds import stable_seed
from fettle_workers.engine.update import update_policy

_MAX_NEWS = 8  # how often progress is told


@dataclass
class _Answers:
    """What the training rows got, and how long it took."""

    groups: list[list[Rollout]] = field(default_factory=list)
    sampling_s: float = 0.0
    grading_s: float = 0.0


def preflight(job: Job[Plan], source: Rollouts, settings: PreflightSettings) -> Preflighted | Stopped:
    """Look at the base through the eyes of the job's template and grader. The policy is of no use afterwards."""
    held_out = _held_out(job, source)
    rows = spread(source.data.train, settings.num_rows)
    answers = _Answers()
    size = max(1, job.plan.completions_per_step // settings.samples_per_row)
    chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
    for number, chunk in enumerate(chunks, start=1):
        wish = job.processes.decide(job.control.poll)
        if wish is not None:
            return Stopped(reason="cancelled" if wish == "cancel" else "preempted", step=0)
        _answer(job, source, chunk, settings.samples_per_row, answers)
        if number % -(-len(chunks) // _MAX_NEWS) == 0 or number == len(chunks):
            job.say(f"The base has answered {len(answers.groups)} of {len(rows)} training rows.")
    job.pending.extend(rollout for group in answers.groups for rollout in group)
    training_s, trained_tokens = _time_an_update(job, answers.groups)
    report = make_report(
        Measured(
            settings=settings,
            groups=answers.groups,
            held_out=held_out.event if held_out else None,
            sampling_s=answers.sampling_s,
            grading_s=answers.grading_s,
            training_s=training_s,
            trained_tokens=trained_tokens,
            memory=measured_memory(job.policy.device),
        ),
        job.plan,
        seed=job.spec.seed,
    )
    job.store_final_rollouts()
    plan = job.plan
    step0 = Step0Settings(
        base_lengths=source.base_lengths,
        eval_samples=plan.eval_samples,
        max_completion_tokens=plan.max_completion_tokens,
        temperature=plan.temperature,
    )
    return Preflighted(report=report, step0=step0 if held_out else None)


def spread(rows: Sequence[Row], num_rows: int) -> list[Row]:
    """So many rows, evenly over the file."""
    picks = np.linspace(0, len(rows) - 1, min(num_rows, len(rows))).round().astype(int)
    return [rows[i] for i in picks]


def _held_out(job: Job[Plan], source: Rollouts) -> Evaluated | None:
    """The evaluation at step 0, call for call; None when not one answer could be graded."""
    try:
        evaluated = evaluate_policy(
            source.data.select,
            range(job.plan.eval_samples),
            step=0,
            epoch=0.0,
            seed=job.spec.seed,
            policy=job.policy,
            sampler=source.sampler,
            graders=source.graders,
            params=source.params,
            processes=job.processes,
            grader_spec=job.spec.method.grader,
            in_sample=job.plan.in_sample,
        )
    except JobFailed as failed:
        job.say(failed.message, level="warn")
        return None
    job.pending.extend(evaluated.rollouts)
    job.say(f"The base scores {evaluated.event.mean:.4f} on {evaluated.event.num_items} rows.")
    return evaluated


def _answer(job: Job[Plan], source: Rollouts, rows: Sequence[Row], num_samples: int, answers: _Answers) -> None:
    seed = job.spec.seed
    groups = [
        Group(row, tuple(stable_seed(seed, "preflight", row.source, row.index, k) for k in range(num_samples)))
        for row in rows
    ]
    mine = partial(
        collect,
        sampler=source.sampler,
        graders=source.graders,
        chat=job.policy.chat,
        params=source.params,
        purpose="preflight",
        step=0,
        policy_step=0,
        epoch=0.0,
    )
    collected = collect_shares(job.processes, groups, mine)
    answers.groups += collected.groups
    answers.sampling_s += collected.sampling_s
    answers.grading_s += collected.grading_s


def _time_an_update(job: Job[Plan], groups: Sequence[Sequence[Rollout]]) -> tuple[float | None, int]:
    """Seconds of an update on a step's worth of answers, every other one called good, and the tokens it read.

    None for the time: it does not fit into the device's memory.
    """
    every = [rollout for group in groups for rollout in group]
    pushed = [
        replace(rollout, advantage=1.0 if index % 2 else -1.0)
        for index, rollout in enumerate(every[: job.plan.completions_per_step])
    ]
    start = time.perf_counter()
    try:
        update_policy(job, pushed, probe_sample(groups), step=1)
    except torch.OutOfMemoryError:
        return None, 0
    num_tokens = sum(len(rollout.row.prompt_ids) + len(rollout.completion.ids) for rollout in pushed)
    return time.perf_counter() - start, num_tokens


def measured_memory(device: torch.device) -> Memory:
    """The most that this process has held so far, and what there is."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        return Memory(
            device=torch.cuda.get_device_name(device),
            peak_bytes=torch.cuda.max_memory_reserved(device),
            total_bytes=total,
        )
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return Memory(device="cpu", peak_bytes=peak, total_bytes=_host_memory())


def _host_memory() -> int:
    """Of the control group when it is limited there, else of the machine."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(total, int(text)) if text.isdigit() else total
