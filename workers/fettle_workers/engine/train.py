"""Reinforcement training, aloud: prompts, completions, grades, advantages, update, evaluate, keep the best."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fettle_workers.contract.events import EvaluationDone, Finished, StepDone, Stopped
from fettle_workers.engine.credit import choose_trained, judge_groups
from fettle_workers.engine.errors import JobFailed
from fettle_workers.engine.evaluate import Evaluated, evaluate_policy
from fettle_workers.engine.finish import finish
from fettle_workers.engine.job import Job
from fettle_workers.engine.plan import Plan
from fettle_workers.engine.report import StepReport, step_metrics
from fettle_workers.engine.rollout import Rollout
from fettle_workers.engine.sample_step import Rollouts, log_grades, probe_sample, sample_step
from fettle_workers.engine.select import paired_difference
from fettle_workers.engine.update import update_policy

# How long a job may go on without two completions of one prompt ever differing in reward.
NO_SIGNAL_COMPLETIONS, NO_SIGNAL_STEPS = 512, 64


def train(job: Job[Plan], source: Rollouts) -> Finished | Stopped:
    """Train from where `job.progress` stands to the end, or to a command.

    Raises:
        JobFailed: nothing can be learned, or the grader fails too often.
    """
    progress, plan = job.progress, job.plan
    if not progress.table:
        keep(job, evaluate(job, source))
    while progress.end_reason is None:
        stopped = job.stopped()
        if stopped is not None:
            return stopped
        go_back_if_decided(job)
        report = train_step(job, source)
        is_last = progress.step == plan.total_steps
        evaluation = evaluate(job, source) if is_last or progress.step % plan.eval_interval == 0 else None
        announce(job, report, evaluation)
        check_signal(job, report.drawn.rollouts)
        if evaluation is not None:
            progress.end_reason = decide(job, evaluation) or ("all steps are done" if is_last else None)
            keep(job, evaluation)
    return finish(job, source)


def train_step(job: Job[Plan], source: Rollouts) -> StepReport:
    """One step: sample groups, grade them, and push the policy by the advantages."""
    start = time.perf_counter()
    step = job.progress.step + 1
    drawn = sample_step(job, source, step)
    advantages = judge_groups(job.progress, job.plan, drawn.groups)
    trained = choose_trained(job.progress, drawn.groups, advantages)
    training_start = time.perf_counter()
    updated = update_policy(job, trained, probe_sample(drawn.groups), step=step)
    job.progress.step = step
    job.progress.num_completions += len(drawn.rollouts)
    job.pending.extend(drawn.rollouts)
    end = time.perf_counter()
    return StepReport(drawn, advantages, updated, training_s=end - training_start, total_s=end - start)


def evaluate(job: Job[Plan], source: Rollouts) -> Evaluated:
    """The policy as it is now, on the rows that checkpoints are selected on. It enters the evaluation table."""
    progress, plan = job.progress, job.plan
    evaluated = evaluate_policy(
        source.data.select,
        range(plan.eval_samples),
        step=progress.step,
        epoch=progress.memory.position / plan.num_rows,
        seed=job.spec.seed,
        policy=job.policy,
        sampler=source.sampler,
        graders=source.graders,
        params=source.params,
        grader_spec=job.spec.method.grader,
        in_sample=plan.in_sample,
    )
    log_grades(job, evaluated.rollouts)
    job.pending.extend(evaluated.rollouts)
    progress.table.append(evaluated.entry)
    evaluated.entry.healthy = evaluated.entry.truncated_share <= progress.table[0].truncated_share + 0.3
    return evaluated


def announce(job: Job[Plan], report: StepReport, evaluation: Evaluated | None) -> None:
    """Tell the step's numbers, before anything is decided or committed."""
    metrics = step_metrics(job, report, eval_s=evaluation.total_s if evaluation else 0.0)
    job.events.emit(StepDone(metrics=metrics))


def keep(job: Job[Plan], evaluation: Evaluated) -> None:
    """Make the evaluated policy a candidate, and commit the state that training goes on from."""
    job.events.emit(EvaluationDone(evaluation=evaluation.event))
    job.progress.prune(kl_budget_nats=job.plan.kl_budget_nats)
    job.commit(candidate=True)


def decide(job: Job[Plan], evaluation: Evaluated) -> str | None:
    """After an evaluation: why to stop, if so; maybe plan a return to the best candidate, or more KL penalty."""
    progress, plan, entry = job.progress, job.plan, evaluation.entry
    reference = progress.entry(progress.early_stop.reference_step)
    gain, error = paired_difference(entry.items, reference.items)
    share = progress.groups_informative / max(1, progress.groups_seen)
    progress.groups_seen = progress.groups_informative = 0
    early = progress.early_stop.observe(entry.step, gain=gain, standard_error=error, informative_share=share)
    too_far = progress.kl.observe(entry.kl_nats, budget_nats=plan.kl_budget_nats)
    best = progress.best(kl_budget_nats=plan.kl_budget_nats)
    action = progress.health.judge_evaluation(*paired_difference(entry.items, best.items))
    if action == "stop":
        return "the policy fell far below its best candidate for the third time"
    if action == "roll_back":
        progress.go_back_to = best.step
    return too_far or (early if plan.early_stopping else None)


def go_back_if_decided(job: Job[Plan]) -> None:
    """Before a step and not after the evaluation, so that the commit between them holds the evaluated adapter."""
    step, job.progress.go_back_to = job.progress.go_back_to, None
    if step is not None:
        job.return_to(job.progress.entry(step), "the held-out reward fell three standard errors below the best")


def check_signal(job: Job[Plan], rollouts: Sequence[Rollout]) -> None:
    """End a job that cannot learn.

    Raises:
        JobFailed: the first epoch is over and no two completions of one prompt ever differed in reward.
    """
    progress, plan = job.progress, job.plan
    waited = progress.num_completions >= NO_SIGNAL_COMPLETIONS
    passed = waited and progress.step >= min(plan.steps_per_epoch, NO_SIGNAL_STEPS)
    if progress.signal_seen or not (passed or progress.step == plan.total_steps):
        return
    rewards = {rollout.reward for rollout in rollouts if rollout.reward is not None}
    shown = f"all {next(iter(rewards)):g}" if len(rewards) == 1 else "different between prompts, equal within each"
    raise JobFailed(
        "no_learning_signal",
        f"after {progress.num_completions} completions no prompt had answers of different reward ({shown}), so there "
        "is nothing to learn from. If rewards are low, make the rows easier, grade partial success, or raise "
        "compute_multiplier; if they are high, the model already does this: use harder rows. Check the grader with "
        "one right and one wrong answer.",
        param="method.reinforcement.grader",
    )
