"""The end of a job: a last look at the finalists, the choice, and a fresh measurement of what it gained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fettle_workers.contract.events import Candidate, Example, Finished, Selection
from fettle_workers.engine.evaluate import all_samples, answer, scores_of
from fettle_workers.engine.job import Job
from fettle_workers.engine.plan import Plan
from fettle_workers.engine.progress import Entry, Progress
from fettle_workers.engine.rollout import Rollout
from fettle_workers.engine.sample_step import Rollouts, log_grades
from fettle_workers.engine.seeds import stable_seed
from fettle_workers.engine.select import RULE, Gain, Items, Judged, judge, may_claim, mean_and_error, measure_gain

_NUM_EXAMPLES = 3
_NEAREST_FINALISTS = 3


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


def finish(job: Job[Plan], source: Rollouts) -> Finished:
    """Choose, measure anew, store what was sampled for it, and say what is delivered. Repeating it gives the same."""
    plan = job.plan
    entries = [_looked_at_again(job, source, entry) for entry in finalists(job.progress, plan.kl_budget_nats)]

    def measure(entry: Entry) -> Measured:
        groups = _answers(job, source, entry, "report", range(plan.final_samples))
        scores = scores_of(groups)
        items = replace(entry, scores=scores).items if len(scores) > 1 else all_samples(scores)
        return Measured(items, [_answered(group[0]) for group in groups])

    selection = deliver(
        job,
        entries,
        measure,
        kl_budget_nats=plan.kl_budget_nats,
        samples_per_item=plan.final_samples,
        measured_on=_measured_on(plan, is_split=source.data.select is not source.data.report),
    )
    job.store_final_rollouts()
    return Finished(
        selection=selection, trained_tokens=job.progress.trained_tokens, reason=job.progress.end_reason or "finished"
    )


def finalists(progress: Progress, kl_budget_nats: float) -> list[Entry]:
    """Step 0, the best candidate, and the three nearest to the base that the rule may choose, by step."""
    _, judged = judge([entry.scored for entry in progress.kept], kl_budget_nats=kl_budget_nats)
    near = sorted((one for one in judged if one.eligible), key=lambda one: (one.kl_nats, one.step))
    steps = {0, progress.best(kl_budget_nats=kl_budget_nats).step}
    steps |= {one.step for one in near[:_NEAREST_FINALISTS]}
    return [entry for entry in progress.kept if entry.step in steps]


def _looked_at_again(job: Job[Plan], source: Rollouts, entry: Entry) -> Entry:
    """The entry with twice the answers per item: the choice between the last few deserves less noise."""
    num_samples = job.plan.eval_samples
    groups = _answers(job, source, entry, "final", range(num_samples, 2 * num_samples))
    more = [[*old, *new] for old, new in zip(entry.scores, scores_of(groups), strict=True)]
    return replace(entry, scores=more)


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
    )
    rollouts = [rollout for group in groups for rollout in group]
    log_grades(job, rollouts)
    job.pending.extend(rollouts)
    return groups


def _answered(rollout: Rollout) -> Answered:
    return Answered(rollout.row.index, rollout.row.prompt_text, rollout.parsed.text, rollout.reward)


def _measured_on(plan: Plan, *, is_split: bool) -> str:
    answers = f"{plan.final_samples} fresh answers each"
    if plan.in_sample:
        return f"{plan.report_items} training rows, {answers}: says nothing about new prompts"
    if is_split:
        return f"{plan.report_items} held-out rows that played no part in choosing, {answers}"
    return (
        f"the {plan.report_items} held-out rows that checkpoints were chosen on, {answers}; too few to set some aside, "
        "so the gain may be slightly overstated"
    )


def deliver(
    job: Job,  # type: ignore[type-arg]  # of either plan
    entries: Sequence[Entry],
    measure: Measure,
    *,
    kl_budget_nats: float,
    samples_per_item: int,
    measured_on: str,
) -> Selection:
    """Apply the rule to the finalists and the gate to its choice. Leaves the delivered adapter in the policy.

    Without held-out rows, or with too few, nothing is claimed; the checkpoint is still delivered if it gained on the
    rows there are, because the owner of one row wants that row learned.
    """
    plan, progress = job.plan, job.progress
    chosen_step, judged = judge([entry.scored for entry in entries], kl_budget_nats=kl_budget_nats)
    base = measure(progress.entry(0))
    chosen = base if chosen_step == 0 else measure(progress.entry(chosen_step))
    gain = measure_gain(chosen.scores, base.scores, seed=stable_seed(job.spec.seed, "bootstrap"))
    passed = chosen_step != 0 and gain.lower_bound > 0
    claimed = passed and may_claim(plan.report_items, in_sample=plan.in_sample)
    if chosen_step != 0 and not passed:
        judged = [_rejected(one, gain) if one.step == chosen_step else one for one in judged]
        chosen_step, chosen, gain = 0, base, Gain(0.0, 0.0, 0.0, 0.0, gain.num_items)
    delivered = progress.entry(chosen_step)
    job.load(delivered)
    return Selection(
        verdict="improved" if claimed else "no_measurable_gain",
        chosen_step=chosen_step,
        chosen_adapter_digest=delivered.adapter_digest,
        rule=RULE,
        base_mean=mean_and_error(base.scores)[0],
        chosen_mean=mean_and_error(chosen.scores)[0],
        gain=gain.mean,
        gain_low=gain.low,
        gain_high=gain.high,
        num_items=plan.report_items,
        samples_per_item=samples_per_item,
        in_sample=plan.in_sample,
        measured_on=measured_on,
        kl_nats=delivered.kl_nats,
        candidates=_candidates(progress, judged),
        examples=_examples(base.answers, chosen.answers),
    )


def _rejected(one: Judged, gain: Gain) -> Judged:
    reason = (
        f"chosen by the rule, but not delivered: measured anew its gain was {gain.mean:+.4f} (95 %: {gain.low:+.4f} to "
        f"{gain.high:+.4f}), not above zero with enough confidence"
    )
    return replace(one, reason=reason)


def _candidates(progress: Progress, judged: Sequence[Judged]) -> tuple[Candidate, ...]:
    """Every evaluated step: the finalists as judged last, the others with why they were none."""
    last = {one.step: one for one in judged}
    return tuple(
        Candidate(
            step=entry.step,
            adapter_digest=entry.adapter_digest,
            mean=mean_and_error(entry.items)[0],
            standard_error_vs_best=last[entry.step].standard_error_vs_best if entry.step in last else 0.0,
            kl_nats=entry.kl_nats,
            eligible=entry.step in last and last[entry.step].eligible,
            reason=last[entry.step].reason if entry.step in last else _why_not(entry),
        )
        for entry in progress.table
    )


def _why_not(entry: Entry) -> str:
    if not entry.healthy:
        return "not eligible: far more answers were cut off than at step 0"
    return "not among the finalists: others were better, or as good and nearer to the base"


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
