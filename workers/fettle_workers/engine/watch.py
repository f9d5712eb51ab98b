"""What the rules of health see of a step and of an evaluation, and what is done about what they find."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from fettle_workers.engine.advantage import MIN_STD
from fettle_workers.engine.errors import JobFailed
from fettle_workers.engine.evaluate import Evaluated
from fettle_workers.engine.health import Finding, Signs, judge_gap, judge_second_opinion
from fettle_workers.engine.job import Job
from fettle_workers.engine.parity import Parity, measure_parity
from fettle_workers.engine.plan import Plan
from fettle_workers.engine.progress import Entry, Progress
from fettle_workers.engine.rollout import Collected, Rollout
from fettle_workers.engine.sample_step import Rollouts
from fettle_workers.engine.sampler import Request
from fettle_workers.engine.seeds import stable_seed
from fettle_workers.engine.select import Items, paired_difference
from fettle_workers.engine.signs import text_signs
from fettle_workers.engine.update import Updated

# How long a job may go on without two completions of one prompt ever differing in reward.
NO_SIGNAL_COMPLETIONS, NO_SIGNAL_STEPS = 512, 64
# Fixed prompts on which a suspect sampler is compared with the learner.
PARITY_PROMPTS = 8


def observe(job: Job[Plan], drawn: Collected, updated: Updated) -> Signs:
    """Have the rules of health look at a step, and the entropy floor."""
    progress, rollouts = job.progress, drawn.rollouts
    shortfall = progress.memory.shortfall(drawn.rows)
    repeated, garbled = text_signs(rollouts)
    signs = Signs(
        shortfall=None if shortfall is None else shortfall / max(MIN_STD, progress.reward_scale or 1.0),
        entropy_nats=updated.entropy_nats,
        truncated_share=sum(rollout.is_truncated for rollout in rollouts) / len(rollouts),
        repeated_share=repeated,
        garbled_share=garbled,
    )
    progress.votes.observe(drawn.groups)
    act(job, *progress.health.observe_step(signs))
    if updated.entropy_nats is not None:
        act(job, progress.entropy.observe(updated.entropy_nats))
    return signs


def recover(job: Job[Plan], source: Rollouts) -> None:
    """Before a step: return to an earlier candidate if that was decided, and see whether the sampler does, too.

    Raises:
        JobFailed: the sampler was told to read the policy anew, and still draws from another distribution.
    """
    progress = job.progress
    job.go_back_if_decided()
    if not progress.sampler_is_suspect:
        return
    progress.sampler_is_suspect = False
    parities = job.processes.gather(lambda: _reload(job, source))  # each process has its sampler
    parity = next((one for one in parities if one.is_fatal), parities[0])
    if parity.is_fatal:
        raise JobFailed(
            "internal_error",
            f"the sampler does not draw from the policy that is trained, and did not after it read the adapter anew, "
            f"either: {parity}. Training on such completions would be wrong. Restart the worker; if that does not "
            "help, unset FETTLE_VLLM_PYTHON.",
        )
    found = Finding("sampler_reloaded", f"the sampler agrees with the learner again: {parity}", level="info")
    act(job, found)


def _reload(job: Job[Plan], source: Rollouts) -> Parity:
    """Have the sampler read the policy anew, and compare the two on fixed prompts."""
    source.sampler.reload()
    rows = source.data.train[:PARITY_PROMPTS]
    requests = [Request(row.prompt_ids, (stable_seed(job.spec.seed, "parity", row.index),)) for row in rows]
    drawn = sorted(source.sampler.sample(requests, source.params), key=lambda one: one.request_index)
    return measure_parity(job.policy, [row.prompt_ids for row in rows], drawn, temperature=source.params.temperature)


def act(job: Job[Plan], *findings: Finding | None) -> None:
    for finding in findings:
        if finding is not None:
            job.act(finding, kl_budget_nats=job.plan.kl_budget_nats)


def decide(job: Job[Plan], evaluation: Evaluated) -> str | None:
    """After an evaluation: why to stop, if so; maybe plan a return to the best candidate, or a penalty."""
    progress, plan, entry = job.progress, job.plan, evaluation.entry
    reference = progress.entry(progress.early_stop.reference_step)
    gain, error = paired_difference(entry.items, reference.items)
    share = progress.groups_informative / max(1, progress.groups_seen)
    progress.groups_seen = progress.groups_informative = 0
    early = progress.early_stop.observe(entry.step, gain=gain, standard_error=error, informative_share=share)
    act(
        job,
        progress.health.judge_signal(share),
        progress.kl.observe(entry.kl_nats, budget_nats=plan.kl_budget_nats),
        progress.length.observe(
            tokens_then=progress.entry(progress.early_stop.reference_step).tokens_mean,
            tokens_now=entry.tokens_mean,
            evaluations_without_gain=progress.early_stop.evaluations_without_gain,
        ),
        suspect(job, entry),
        *contradict(job, entry),
    )
    difference = paired_difference(entry.items, progress.best(kl_budget_nats=plan.kl_budget_nats).items)
    act(job, progress.health.judge_evaluation(*difference))
    return progress.end_reason or progress.votes.reason_to_stop() or (early if plan.early_stopping else None)


def suspect(job: Job[Plan], entry: Entry) -> Finding | None:
    """A candidate whose training reward rose while held-out reward fell; flagged, it cannot be delivered."""
    best = job.progress.best(kl_budget_nats=job.plan.kl_budget_nats)
    if job.plan.in_sample or best.train_reward is None or entry.train_reward is None:
        return None
    held_out, error = paired_difference(entry.items, best.items)
    finding = judge_gap(
        train=(best.train_reward, entry.train_reward),
        held_out=held_out,
        standard_error=error,
        since_step=best.step,
    )
    if finding is not None and finding.code == "suspected_reward_hacking":
        entry.illness = "training reward rose while held-out reward fell: suspected reward hacking"
    return finding


def contradict(job: Job[Plan], entry: Entry) -> Iterator[Finding]:
    """Graders that are no part of the reward and fell since step 0 while the reward rose on the same rows; a candidate
    that one of them clearly speaks against cannot be delivered."""
    base = job.progress.entry(0)
    gain, _ = paired_difference(entry.items, base.items)
    for name in job.plan.watched_graders:
        fall, error = paired_difference(_known(entry.watched[name]), _known(base.watched[name]))
        finding = judge_second_opinion(name, gain=gain, change=fall, standard_error=error)
        if finding is None:
            continue
        if finding.code == "suspected_reward_hacking":
            entry.illness = f"the reward rose while {name}, which is no part of it, fell: suspected reward hacking"
        yield finding


def _known(means: Sequence[float | None]) -> Items:
    return np.array(means, dtype=np.float64)  # None becomes NaN


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
    raise JobFailed("no_learning_signal", no_signal_message(progress, rewards), param="method.reinforcement.grader")


def no_signal_message(progress: Progress, rewards: Collection[float]) -> str:
    """What was seen, and what to do about it: it differs between a grader's floor and its ceiling."""
    found = f"after {progress.num_completions} completions no prompt had answers of different reward "
    check = "Check the grader with one right and one wrong answer."
    if len(rewards) != 1:
        return (
            f"{found}(different between prompts, equal within each), so there is nothing to learn from: the grader "
            f"does not look at the answer, or answers do not vary. {check} Raise temperature or compute_multiplier."
        )
    (reward,) = rewards
    if reward >= 1:
        return (
            f"{found}(all {reward:g}), so there is nothing to learn from: the model already solves every row, or the "
            f"grader accepts everything. {check} If it is right, use harder rows or a grader that tells good from best."
        )
    return (
        f"{found}(all {reward:g}), so there is nothing to learn from: no answer was ever better than another. {check} "
        "If it is right, make the rows easier, grade partial success, or raise compute_multiplier."
    )
