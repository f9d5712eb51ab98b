"""Reinforcement training, aloud: prompts, completions, grades, advantages, update, evaluate, keep the best."""

from __future__ import annotations

import time

from fettle_workers.contract.events import EvaluationDone, Finished, StepDone, Stopped
from fettle_workers.engine.credit import choose_trained, judge_groups, watch_truncation
from fettle_workers.engine.evaluate import Evaluated, evaluate_policy
from fettle_workers.engine.finish import finish
from fettle_workers.engine.job import Job
from fettle_workers.engine.plan import Plan
from fettle_workers.engine.report import StepReport, step_metrics
from fettle_workers.engine.sample_step import Rollouts, log_grades, probe_sample, sample_step
from fettle_workers.engine.update import update_policy
from fettle_workers.engine.watch import act, check_signal, decide, observe, recover


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
        recover(job, source)
        report = train_step(job, source)
        ended = job.last_step()
        evaluation = evaluate(job, source) if ended or progress.step % plan.eval_interval == 0 else None
        announce(job, report, evaluation)
        check_signal(job, report.drawn.rollouts)
        if evaluation is not None:
            progress.end_reason = decide(job, evaluation) or ended
            keep(job, evaluation)
    job.tell_end()
    return finish(job, source)


def train_step(job: Job[Plan], source: Rollouts) -> StepReport:
    """One step: sample groups, grade them, and push the policy by the advantages."""
    start = time.perf_counter()
    progress, plan = job.progress, job.plan
    drawn = sample_step(job, source, progress.step + 1)
    progress.step += 1
    act(job, watch_truncation(progress, drawn.groups))
    advantages = judge_groups(progress, plan, drawn.groups)
    trained = choose_trained(progress, plan, drawn.groups, advantages)
    training_start = time.perf_counter()
    updated = update_policy(job, trained, probe_sample(drawn.groups), step=progress.step)
    signs = observe(job, drawn, updated)
    progress.num_completions += len(drawn.rollouts)
    job.pending.extend(drawn.rollouts)
    end = time.perf_counter()
    return StepReport(drawn, advantages, updated, signs, training_s=end - training_start, total_s=end - start)


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
        processes=job.processes,
        grader_spec=job.spec.method.grader,
        in_sample=plan.in_sample,
        known=source.step0 if progress.step == 0 else None,
    )
    log_grades(job, evaluated.rollouts)
    job.pending.extend(evaluated.rollouts)
    entry = evaluated.entry
    progress.table.append(entry)
    entry.train_reward = progress.memory.mean_reward
    if entry.truncated_share > progress.table[0].truncated_share + 0.3:
        entry.illness = "far more answers were cut off than at step 0"
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
