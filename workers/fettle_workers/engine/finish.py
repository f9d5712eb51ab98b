"""The end of a job: a last look at the finalists, the choice, and a fresh measurement of what it gained."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fettle_workers.contract.events import (
    Candidate,
    CandidateScores,
    Example,
    Finished,
    ScoreTable,
    Selection,
    Standing,
)
from fettle_workers.engine.data import RawRow
from fettle_workers.engine.evaluate import all_samples, answer, scores_of
from fettle_workers.engine.job import Job
from fettle_workers.engine.plan import Plan
from fettle_workers.engine.progress import Entry, Progress
from fettle_workers.engine.rollout import Rollout
from fettle_workers.engine.sample_step import Rollouts, log_grades
from fettle_workers.engine.seeds import stable_seed
from fettle_workers.engine.select import RULE, Items, Judged, finalists, may_claim, mean_and_error
from fettle_workers.engine.verdict import choose, reach_verdict

_NUM_EXAMPLES = 3
# Successive halving: the best third of the candidates gets a few more answers, the best five of them many.
FIRST_ROUND_SHARE, FIRST_ROUND_SAMPLES = 3, 4
NUM_FINALISTS = 5


@dataclass(frozen=True)
class Answered:
    """One prompt and what a policy said to it; two policies are shown side by side."""

    row: int
    prompt: str
    text: str
    reward: float | None


@dataclass(frozen=True)
class Measured:
    """A policy on the report rows: one score per item (or per sample, of a single item), and what it said."""

    scores: Items
    answers: list[Answered]


Measure = Callable[[Entry], Measured]
Method = Literal["fresh_rows", "corrected", "fresh_answers"]


def finish(job: Job[Plan], source: Rollouts) -> Finished:
    """Choose, measure, store what was sampled for it, and say what is delivered. Repeating it gives the same."""
    plan, data = job.plan, source.data
    method = method_of(in_sample=plan.in_sample, num_rows=len(data.select), is_split=data.select is not data.report)
    # Where the gain is measured on the finalists' own answers, the report rows only show what changed.
    samples = 1 if method == "corrected" else plan.final_samples

    def measure(entry: Entry) -> Measured:
        groups = _answers(job, source, entry, "report", range(samples))
        scores = scores_of(groups)
        items = replace(entry, scores=scores).items if len(scores) > 1 else all_samples(scores)
        return Measured(items, [_answered(group[0]) for group in groups])

    selection = deliver(
        job,
        _halved(job, source),
        measure,
        method=method,
        rows=data.select,
        report_rows=data.report,
        kl_budget_nats=plan.kl_budget_nats,
        samples_per_item=plan.finalist_samples if method == "corrected" else plan.final_samples,
    )
    job.store_final_rollouts()
    return Finished(
        selection=selection, trained_tokens=job.progress.trained_tokens, reason=job.progress.end_reason or "finished"
    )


def method_of(*, in_sample: bool, num_rows: int, is_split: bool) -> Method:
    """How the gain is measured, by what rows there are; see `ScoreTable`."""
    if is_split:
        return "fresh_rows"
    return "corrected" if may_claim(num_rows, in_sample=in_sample) else "fresh_answers"


def kept_finalists(entries: Sequence[Entry], *, kl_budget_nats: float, num: int) -> list[Entry]:
    steps = finalists([entry.scored for entry in entries], kl_budget_nats=kl_budget_nats, num=num)
    return [entry for entry in entries if entry.step in steps]


def _halved(job: Job[Plan], source: Rollouts) -> list[Entry]:
    """The finalists with more answers each: cheap looks at many, dear ones at few."""
    plan, progress = job.plan, job.progress
    num = max(NUM_FINALISTS, math.ceil(len(progress.table) / FIRST_ROUND_SHARE))
    entries = progress.kept
    for limit, samples in ((num, FIRST_ROUND_SAMPLES), (NUM_FINALISTS, plan.finalist_samples)):
        entries = kept_finalists(entries, kl_budget_nats=plan.kl_budget_nats, num=limit)
        entries = [_looked_at_again(job, source, entry, samples) for entry in entries]
    return entries


def _looked_at_again(job: Job[Plan], source: Rollouts, entry: Entry, num_samples: int) -> Entry:
    """The entry with so many answers per item, the first of them those it has."""
    more = range(len(entry.scores[0]), num_samples)
    if not more:
        return entry
    groups = _answers(job, source, entry, "final", more)
    return replace(entry, scores=[[*old, *new] for old, new in zip(entry.scores, scores_of(groups), strict=True)])


def _answers(job: Job[Plan], source: Rollouts, entry: Entry, purpose: str, samples: range) -> list[list[Rollout]]:
    job.load(entry)
    groups = answer(
        source.data.select if purpose == "final" else source.data.report,
        samples,
        purpose="final" if purpose == "final" else "report",
        step=entry.step,
        epoch=job.progress.memory.position / job.plan.num_rows,
        seed=job.spec.seed,
        policy=job.policy,
        sampler=source.sampler,
        graders=source.graders,
        params=source.params,
        processes=job.processes,
    )
    rollouts = [rollout for group in groups for rollout in group]
    log_grades(job, rollouts)
    job.pending.extend(rollouts)
    return groups


def _answered(rollout: Rollout) -> Answered:
    return Answered(rollout.row.index, rollout.row.prompt_text, rollout.parsed.text, rollout.reward)


def deliver(
    job: Job,  # type: ignore[type-arg]  # of either plan
    entries: Sequence[Entry],
    measure: Measure,
    *,
    method: Method,
    rows: Sequence[RawRow],
    report_rows: Sequence[RawRow],
    kl_budget_nats: float,
    samples_per_item: int,
) -> Selection:
    """Apply the rule to the finalists and the gate to its choice. Leaves the delivered adapter in the policy."""
    plan, progress = job.plan, job.progress
    looked_at = {entry.step for entry in entries}
    left = [entry for entry in progress.table if entry.step not in looked_at] if method == "corrected" else []
    table = ScoreTable(
        method=method,
        rows=tuple(row.index for row in rows),
        report_rows=() if method == "corrected" else tuple(row.index for row in report_rows),
        kl_budget_nats=kl_budget_nats if math.isfinite(kl_budget_nats) else None,
        seed=stable_seed(job.spec.seed, "bootstrap"),
        candidates=tuple(map(_stored, entries)),
        others=tuple(map(_stored, left)),
    )
    chosen_step, _ = choose(table)
    base = measure(progress.entry(0))
    chosen = base if chosen_step == 0 else measure(progress.entry(chosen_step))
    if method != "corrected":
        measured = {"base_report": _numbers(base.scores), "chosen_report": _numbers(chosen.scores)}
        table = table.model_copy(update=measured)
    verdict = reach_verdict(table, in_sample=plan.in_sample)
    delivered = progress.entry(verdict.delivered)
    job.load(delivered)
    return Selection(
        verdict="improved" if verdict.claimed else "no_measurable_gain",
        chosen_step=delivered.step,
        chosen_adapter_digest=delivered.adapter_digest,
        rule=RULE,
        base_mean=verdict.base_mean,
        chosen_mean=verdict.delivered_mean,
        gain=verdict.gain.mean,
        gain_low=verdict.gain.low,
        gain_high=verdict.gain.high,
        num_items=plan.report_items,
        samples_per_item=samples_per_item,
        in_sample=plan.in_sample,
        measured_on=_measured_on(method, plan.report_items, samples_per_item, in_sample=plan.in_sample),
        kl_nats=delivered.kl_nats,
        candidates=_candidates(progress, verdict.judged),
        examples=_examples(base.answers, chosen.answers if verdict.delivered else base.answers),
        table=table,
    )


def _measured_on(method: Method, num_rows: int, samples: int, *, in_sample: bool) -> str:
    each = f", {samples} answers each" if samples > 1 else ""
    if in_sample:
        return f"{num_rows} training rows{each}: says nothing about new prompts"
    if method == "fresh_rows":
        return f"{num_rows} held-out rows that played no part in choosing{each}"
    if method == "corrected":
        return (
            f"the {num_rows} held-out rows that checkpoints were chosen on{each}; the advantage of being chosen is "
            "taken off by resampling the rows"
        )
    return f"{num_rows} held-out rows, on which checkpoints were chosen, too{each}: too few for a claim"


def _stored(entry: Entry) -> CandidateScores:
    return CandidateScores(
        step=entry.step, kl_nats=entry.kl_nats, illness=entry.illness, item_means=_numbers(entry.items)
    )


def _numbers(items: Items) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(value) else float(value) for value in items)


def _candidates(progress: Progress, judged: Sequence[Judged]) -> tuple[Candidate, ...]:
    """Every evaluated step: the finalists as judged last, the others with why they were none."""
    last = {one.step: one for one in judged}
    return tuple(_candidate(entry, last.get(entry.step)) for entry in progress.table)


def _candidate(entry: Entry, judged: Judged | None) -> Candidate:
    standing, reason = (judged.standing, judged.reason) if judged else _why_not(entry)
    return Candidate(
        step=entry.step,
        adapter_digest=entry.adapter_digest,
        mean=mean_and_error(entry.items)[0],
        standard_error_vs_best=judged.standard_error_vs_best if judged else 0.0,
        kl_nats=entry.kl_nats,
        eligible=judged is not None and judged.eligible,
        standing=standing,
        reason=reason,
    )


def _why_not(entry: Entry) -> tuple[Standing, str]:
    if entry.illness:
        return "unfit", f"not eligible: {entry.illness}"
    return "not_a_finalist", "not among the finalists: others were better, or as good and nearer to the base"


def _examples(before: Sequence[Answered], after: Sequence[Answered]) -> tuple[Example, ...]:
    """The first rows whose answers differ: not picked by how well they look."""
    pairs = [(old, new) for old, new in zip(before, after, strict=True) if old.text != new.text]
    return tuple(
        Example(
            row=old.row,
            prompt=old.prompt,
            before=old.text,
            before_reward=old.reward,
            after=new.text,
            after_reward=new.reward,
        )
        for old, new in pairs[:_NUM_EXAMPLES]
    )
