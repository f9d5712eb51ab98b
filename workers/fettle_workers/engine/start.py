"""The beginning of a job: what `auto` means for it, or where it left off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import numpy as np

from fettle_workers.contract.events import Started
from fettle_workers.contract.spec import ReinforcementMethod, TrainSpec
from fettle_workers.engine.checkpoint import read_state, restore
from fettle_workers.engine.curriculum import ItemMemory
from fettle_workers.engine.data import Data, RawData, render_data
from fettle_workers.engine.job import Job
from fettle_workers.engine.learner import Learner
from fettle_workers.engine.model import Policy
from fettle_workers.engine.plan import (
    PROBE_PROMPTS,
    Facts,
    Plan,
    SupervisedPlan,
    auto_completion_bound,
    resolve_plan,
)
from fettle_workers.engine.ports import CheckpointStore, Control, EventSink, GraderRunner, Sampler
from fettle_workers.engine.processes import Processes
from fettle_workers.engine.progress import Progress
from fettle_workers.engine.rollout import Rollout
from fettle_workers.engine.sample_step import Rollouts
from fettle_workers.engine.sampler import Request, SamplingParams
from fettle_workers.engine.seeds import stable_seed
from fettle_workers.engine.step0 import Step0Differs, read_step0

PlanT = TypeVar("PlanT", Plan, SupervisedPlan)


def start_reinforcement(
    spec: TrainSpec,
    raw: RawData,
    *,
    policy: Policy,
    sampler: Sampler,
    graders: GraderRunner,
    checkpoints: CheckpointStore,
    events: EventSink,
    control: Control,
    resume_from: Path | None,
    step0: Path | None = None,
    processes: Processes | None = None,
) -> tuple[Job[Plan], Rollouts]:
    """Everything `train` needs, at step 0 or at the step of a checkpoint folder. Says so with `Started`.

    Args:
        step0: the rollouts of the preflight that `spec.step0` names.
        processes: those that train this job together, with equal arguments; None: this one alone.

    Raises:
        JobFailed: a row or a setting that cannot work.
        CheckpointError: the folder is not of this job.
    """
    method = spec.method
    assert isinstance(method, ReinforcementMethod)
    data = render_data(
        raw,
        policy.chat,
        context_size=policy.context_size,
        response_format=method.response_format,
        reasoning_effort=method.hyperparameters.reasoning_effort,
    )
    learner = Learner(policy, processes)
    job = resumed(spec, Plan, resume_from, learner, checkpoints, events, control) if resume_from else None
    lengths: list[int] = []
    if job is None:
        lengths = learner.processes.decide(lambda: base_lengths(spec, data, policy=policy, sampler=sampler))
        facts = plan_facts(data, policy, lengths)
        plan = resolve_plan(method.hyperparameters, grader=method.grader, **vars(facts))
        job = fresh(spec, plan, learner, checkpoints, events, control)
    plan = job.plan
    params = SamplingParams(max_new_tokens=plan.max_completion_tokens, temperature=plan.temperature)
    announce(job, raw)
    known = _known_step0(job, data, step0) if job.progress.step == 0 and not job.progress.table else None
    return job, Rollouts(data, sampler, graders, params, tuple(lengths), known)


def _known_step0(job: Job[Plan], data: Data, path: Path | None) -> list[list[Rollout]] | None:
    """The answers of a preflight, if they are those that this job's first evaluation would give."""
    if job.spec.step0 is None:
        return None
    name = job.spec.step0.preflight_id
    try:
        known = read_step0(path, job.spec.step0.settings, rows=data.select, plan=job.plan, chat=job.policy.chat)
    except Step0Differs as reason:
        job.say(f"The answers of {name} cannot stand in for the evaluation at step 0: {reason}", level="warn")
        return None
    job.say(f"The evaluation at step 0 takes over {sum(map(len, known))} graded answers of {name}.")
    return known


def fresh(
    spec: TrainSpec,
    plan: PlanT,
    learner: Learner,
    checkpoints: CheckpointStore,
    events: EventSink,
    control: Control,
) -> Job[PlanT]:
    """A job at step 0."""
    progress = Progress(memory=ItemMemory.of(plan.num_rows))
    return Job(spec, plan, learner, progress, checkpoints, events, control)


def resumed(
    spec: TrainSpec,
    plan_type: type[PlanT],
    folder: Path,
    learner: Learner,
    checkpoints: CheckpointStore,
    events: EventSink,
    control: Control,
) -> Job[PlanT]:
    """A job as the checkpoint in `folder` left it; later checkpoints in the work folder are forgotten."""
    plan, progress, state = read_state(folder, spec=spec, plan_type=plan_type)
    restore(folder, learner=learner, progress=progress, state=state)
    learner.processes.decide(lambda: checkpoints.discard_after(progress.step))
    return Job(spec, plan, learner, progress, checkpoints, events, control, first_step=progress.step)


def announce(job: Job[PlanT], raw: RawData) -> None:
    """Tell what the job is going to do."""
    plan = job.plan
    is_fresh = not job.progress.table
    job.events.emit(
        Started(
            plan=asdict(plan) | job.policy.placement.entries(),
            total_steps=plan.total_steps,
            resumed_from_step=None if is_fresh else job.progress.step,
        )
    )
    for warning in raw.warnings if is_fresh else ():
        job.say(warning, level="warn")


def plan_facts(data: Data, policy: Policy, base_lengths: Sequence[int]) -> Facts:
    return Facts(
        num_rows=len(data.train),
        select_items=len(data.select),
        report_items=len(data.report),
        in_sample=data.in_sample,
        hidden_size=policy.hidden_size,
        completion_room=policy.context_size - data.longest_prompt,
        base_lengths=base_lengths,
    )


def base_lengths(spec: TrainSpec, data: Data, *, policy: Policy, sampler: Sampler) -> list[int]:
    """Lengths of the policy's answers to some training prompts: how long completions have to be, is read off these.

    A preflight has already asked for the same answers.
    """
    if spec.step0 is not None:
        return list(spec.step0.settings.base_lengths)
    assert isinstance(spec.method, ReinforcementMethod)
    room, seed = policy.context_size - data.longest_prompt, spec.seed
    asked = spec.method.hyperparameters
    bound = asked.max_completion_tokens
    bound = auto_completion_bound(asked.reasoning_effort) if bound == "auto" else bound
    temperature = 1.0 if asked.temperature == "auto" else asked.temperature
    picks = np.linspace(0, len(data.train) - 1, min(PROBE_PROMPTS, len(data.train))).round().astype(int)
    answers_each = -(-PROBE_PROMPTS // len(picks))
    requests = [
        Request(data.train[i].prompt_ids, tuple(stable_seed(seed, "probe", int(i), k) for k in range(answers_each)))
        for i in picks
    ]
    params = SamplingParams(max_new_tokens=max(1, min(room, bound)), temperature=temperature)
    return [len(completion.ids) for completion in sampler.sample(requests, params)]
