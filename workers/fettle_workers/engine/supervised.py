"""Supervised tuning with the same policy, candidates, selection and checkpoints; score = negative held-out loss."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fettle_workers.contract.events import (
    Evaluation,
    EvaluationDone,
    Finished,
    StepDone,
    StepMetrics,
    Stopped,
    Timing,
)
from fettle_workers.contract.spec import SupervisedMethod, TrainSpec
from fettle_workers.engine.conversations import Demonstration, Demonstrations, render_demonstrations
from fettle_workers.engine.curriculum import epoch_order
from fettle_workers.engine.data import RawData
from fettle_workers.engine.finish import NUM_FINALISTS, Answered, Measured, deliver, kept_finalists, method_of
from fettle_workers.engine.job import Job
from fettle_workers.engine.learner import Gradients, Learner, decayed, warmed_up
from fettle_workers.engine.logprob import Microbatch, TokenScores, mean_kl, microbatches, score_tokens
from fettle_workers.engine.loss import Loss, next_token_loss
from fettle_workers.engine.model import Policy
from fettle_workers.engine.plan import SupervisedPlan, resolve_supervised_plan
from fettle_workers.engine.ports import CheckpointStore, Control, EventSink, Sampler
from fettle_workers.engine.processes import Processes
from fettle_workers.engine.progress import Entry
from fettle_workers.engine.sampler import Request, SamplingParams
from fettle_workers.engine.seeds import stable_seed
from fettle_workers.engine.select import mean_and_error, paired_difference
from fettle_workers.engine.start import announce, fresh, resumed

# Demonstrations may lie far from the base; being near to it is no goal here, only what decides between equals.
_NO_KL_BUDGET = math.inf
_NUM_SHOWN, _SHOWN_TOKENS = 8, 256


@dataclass(frozen=True)
class HeldOut:
    """Loss on held-out rows: per row the mean over its loss tokens, and totals over all tokens."""

    losses: list[float]
    total_loss: float
    num_correct: int
    num_tokens: int


def start_supervised(
    spec: TrainSpec,
    raw: RawData,
    *,
    policy: Policy,
    checkpoints: CheckpointStore,
    events: EventSink,
    control: Control,
    resume_from: Path | None,
    processes: Processes | None = None,
) -> tuple[Job[SupervisedPlan], Demonstrations]:
    """The job at step 0 or at the step of a checkpoint folder. Says so with `Started`.

    Raises:
        JobFailed: a row that cannot work.
        CheckpointError: the folder is not of this job.
    """
    assert isinstance(spec.method, SupervisedMethod)
    data = render_demonstrations(raw, policy.chat, context_size=policy.context_size)
    learner = Learner(policy, processes)
    if resume_from:
        job = resumed(spec, SupervisedPlan, resume_from, learner, checkpoints, events, control)
    else:
        plan = resolve_supervised_plan(
            spec.method.hyperparameters,
            num_rows=len(data.train),
            select_items=len(data.select),
            report_items=len(data.report),
            in_sample=data.in_sample,
            hidden_size=policy.hidden_size,
        )
        job = fresh(spec, plan, learner, checkpoints, events, control)
    announce(job, raw)
    return job, data


def train_supervised(job: Job[SupervisedPlan], data: Demonstrations, sampler: Sampler) -> Finished | Stopped:
    """Train from where `job.progress` stands to the end, or to a command."""
    progress, plan = job.progress, job.plan
    if not progress.table:
        _keep(job, _evaluate(job, data))
    while progress.end_reason is None:
        stopped = job.stopped()
        if stopped is not None:
            return stopped
        job.go_back_if_decided()
        start = time.perf_counter()
        gradients, lr = _train_step(job, data)
        seconds = time.perf_counter() - start
        ended = job.last_step()
        due = ended is not None or progress.step % plan.eval_interval == 0
        evaluation = _evaluate(job, data) if due else None
        # Exactly 0 without an evaluation: that is how a reader knows not to wait for one.
        eval_s = time.perf_counter() - start - seconds if due else 0.0
        job.events.emit(StepDone(metrics=_metrics(job, gradients, lr=lr, step_s=seconds, eval_s=eval_s)))
        if evaluation is not None:
            progress.end_reason = progress.end_reason or _decide(job) or ended
            _keep(job, evaluation)
    job.tell_end()
    return _finish(job, data, sampler)


def _train_step(job: Job[SupervisedPlan], data: Demonstrations) -> tuple[Gradients, float]:
    """One step on the next rows of an endless chain of epochs. Returns its gradients and learning rate."""
    progress, plan = job.progress, job.plan
    step = progress.step + 1
    positions = range(progress.step * plan.batch_size, step * plan.batch_size)
    orders = {p // plan.num_rows: [0] for p in positions}
    orders = {epoch: epoch_order(plan.num_rows, seed=job.spec.seed, epoch=epoch) for epoch in orders}
    rows = [data.train[orders[p // plan.num_rows][p % plan.num_rows]] for p in positions]
    sequences = [sequence for row in rows for sequence in row.sequences]

    def loss(batch: Microbatch, scores: TokenScores) -> Loss:
        return next_token_loss(scores.logprobs_N, scores.correct_N)

    gradients = job.learner.accumulate(sequences, loss, temperature=1.0)
    lr = plan.learning_rate * decayed(step, warmup_steps=plan.warmup_steps, total_steps=plan.total_steps)
    lr *= progress.health.lr_scale
    if progress.warm_from:
        lr *= warmed_up(step - progress.warm_from, warmup_steps=plan.warmup_steps)
    finding = progress.health.judge_update(step, loss=gradients.loss, grad_norm=gradients.norm)
    if finding is None or finding.action == "tell":
        job.learner.update(lr=lr, grad_norm=gradients.norm)
    progress.step = step
    if finding is not None:
        job.act(finding, kl_budget_nats=_NO_KL_BUDGET)
    progress.trained_tokens += sum(len(sequence.ids) for sequence in sequences)
    return gradients, lr


def held_out_loss(policy: Policy, rows: Sequence[Demonstration], processes: Processes) -> HeldOut:
    """Negative logprobs of what the assistant said, without gradient; each process computes its share of the rows."""
    share = processes.share([1] * len(rows))
    parts = processes.gather(lambda: _held_out_loss(policy, rows[share]))
    return HeldOut(
        [loss for part in parts for loss in part.losses],
        sum(part.total_loss for part in parts),
        sum(part.num_correct for part in parts),
        sum(part.num_tokens for part in parts),
    )


def _held_out_loss(policy: Policy, rows: Sequence[Demonstration]) -> HeldOut:
    owners = [index for index, row in enumerate(rows) for _ in row.sequences]
    sequences = [sequence for row in rows for sequence in row.sequences]
    sums, counts, num_correct = np.zeros(len(rows)), np.zeros(len(rows)), 0
    with torch.no_grad():
        for batch in microbatches(policy, sequences):
            scores = score_tokens(policy, batch)
            of_token = np.array([owners[member] for member in batch.members])[batch.sequences_N.cpu().numpy()]
            np.add.at(sums, of_token, -scores.logprobs_N.double().cpu().numpy())
            np.add.at(counts, of_token, 1)
            num_correct += int(scores.correct_N.sum())
    return HeldOut((sums / counts).tolist(), float(sums.sum()), num_correct, int(counts.sum()))


def _evaluate(job: Job[SupervisedPlan], data: Demonstrations) -> Evaluation:
    """The policy on the rows that checkpoints are selected on. It enters the evaluation table."""
    found = held_out_loss(job.policy, data.select, job.processes)
    sequences = [sequence for row in data.select for sequence in row.sequences]
    entry = Entry(
        step=job.progress.step,
        adapter_digest="",
        scores=[[-loss] for loss in found.losses],
        kl_nats=mean_kl(job.policy, sequences, job.processes),
        illness=None if all(map(math.isfinite, found.losses)) else "its loss is not finite",
    )
    job.progress.table.append(entry)
    mean, error = mean_and_error(entry.items)
    return Evaluation(
        step=entry.step,
        mean=mean,
        standard_error=error if math.isfinite(error) else 0.0,
        kl_nats=entry.kl_nats,
        num_items=len(found.losses),
        samples_per_item=1,
        in_sample=data.in_sample,
        item_means=tuple(-loss for loss in found.losses),
        valid_loss=found.total_loss / found.num_tokens,
        valid_mean_token_accuracy=found.num_correct / found.num_tokens,
    )


def _decide(job: Job[SupervisedPlan]) -> str | None:
    """Why to stop after an evaluation, if so; maybe plan a return to the best candidate."""
    progress = job.progress
    entry = progress.table[-1]
    gain, error = paired_difference(entry.items, progress.entry(progress.early_stop.reference_step).items)
    return progress.early_stop.observe(entry.step, gain=gain, standard_error=error, informative_share=1.0)


def _keep(job: Job[SupervisedPlan], evaluation: Evaluation) -> None:
    job.events.emit(EvaluationDone(evaluation=evaluation))
    job.progress.prune(kl_budget_nats=_NO_KL_BUDGET)
    job.commit(candidate=True)


def _metrics(job: Job[SupervisedPlan], gradients: Gradients, *, lr: float, step_s: float, eval_s: float) -> StepMetrics:
    progress, plan = job.progress, job.plan
    num_tokens = gradients.sums["tokens"]
    loss = gradients.loss if math.isfinite(gradients.loss) else None
    return StepMetrics(
        step=progress.step,
        total_steps=plan.total_steps,
        epoch=progress.step * plan.batch_size / plan.num_rows,
        lr=lr,
        loss=loss,
        grad_norm=gradients.norm if math.isfinite(gradients.norm) else None,
        train_loss=loss,
        train_mean_token_accuracy=gradients.sums["correct"] / num_tokens,
        trained_tokens=progress.trained_tokens,
        tokens_per_s=num_tokens / step_s,
        eta_s=job.eta_s(),
        timing=Timing(training_s=step_s, eval_s=eval_s, total_s=step_s + eval_s),
    )


def _finish(job: Job[SupervisedPlan], data: Demonstrations, sampler: Sampler) -> Finished:
    def measure(entry: Entry) -> Measured:
        job.load(entry)
        losses = held_out_loss(job.policy, data.report, job.processes).losses
        shown = job.processes.decide(lambda: _shown(job, data.report[:_NUM_SHOWN], sampler))
        return Measured(-np.array(losses), shown)

    selection = deliver(
        job,
        kept_finalists(job.progress.kept, kl_budget_nats=_NO_KL_BUDGET, num=NUM_FINALISTS),
        measure,
        method=method_of(in_sample=data.in_sample, num_rows=len(data.select), is_split=data.select is not data.report),
        rows=data.select,
        report_rows=data.report,
        kl_budget_nats=_NO_KL_BUDGET,
        samples_per_item=1,
    )
    reason = job.progress.end_reason or "finished"
    return Finished(selection=selection, trained_tokens=job.progress.trained_tokens, reason=reason)


def _shown(job: Job[SupervisedPlan], rows: Sequence[Demonstration], sampler: Sampler) -> list[Answered]:
    """What the policy now says at the last assistant turn of some rows; same seeds for every policy."""
    room = job.policy.context_size - max(len(row.opening) for row in rows)
    params = SamplingParams(max_new_tokens=max(1, min(_SHOWN_TOKENS, room)))
    requests = [Request(row.opening, (stable_seed(job.spec.seed, "shown", row.source, row.index),)) for row in rows]
    found = sorted(sampler.sample(requests, params), key=lambda completion: completion.request_index)
    texts = [job.policy.chat.parse(completion.ids).text for completion in found]
    return [Answered(row.index, row.prompt_text, text, None) for row, text in zip(rows, texts, strict=True)]
