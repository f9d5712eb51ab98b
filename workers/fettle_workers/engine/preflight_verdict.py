"""From the numbers of a preflight to a verdict: every rule, its threshold, and what to do about it in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from fettle_workers.contract.preflight import Finding, PreflightReport, Verdict
from fettle_workers.engine.grade_log import MAX_FAILED_SHARE
from fettle_workers.engine.plan import Plan
from fettle_workers.engine.select import MIN_ITEMS_FOR_CLAIM

# Below this share of groups with signal a job spends nearly all its answers on nothing; below the second it is slow.
MIN_SIGNAL, LOW_SIGNAL = 0.05, 0.2
MOSTLY = 0.5
MAX_TRUNCATED = 0.1  # from here on training itself turns on its penalty for long answers
MAX_UNREADABLE = 0.3
SOME_FAILED = 0.02
LENIENT_MEAN, LENIENT_SPREAD = 0.9, 0.05
SLOW_GRADER_S = 0.05
MEMORY_SHARE = 0.9


def judge_findings(
    report: PreflightReport, plan: Plan, *, update_fits: bool
) -> tuple[Verdict, str, tuple[Finding, ...]]:
    """Verdict, one sentence, and all findings, the worst first.

    `dont`: something blocks; `fixable`: something should be fixed; `ready`: neither.
    """
    order = {"blocks": 0, "fix": 1, "note": 2}
    findings = sorted(_findings(report, plan, update_fits=update_fits), key=lambda finding: order[finding.severity])
    worst = findings[0].severity if findings else "note"
    if worst == "blocks":
        return "dont", f"Don't start this job yet: {findings[0].message}", tuple(findings)
    if worst == "fix":
        return "fixable", f"Fixable: {findings[0].message}", tuple(findings)
    counts = report.counts
    rows = f"{counts.teachable} of {report.num_rows} rows are teachable, {counts.dead} dead, {counts.solved} solved"
    return "ready", f"Ready: {rows}.", tuple(findings)


def _findings(report: PreflightReport, plan: Plan, *, update_fits: bool) -> Iterator[Finding]:
    yield from _grader_failures(report)
    yield from _signal(report, plan)
    yield from _answers(report, plan)
    yield from _reward_shape(report)
    yield from _machine(report, update_fits=update_fits)
    if plan.in_sample or plan.select_items < MIN_ITEMS_FOR_CLAIM:
        yield _found(
            "few_held_out",
            "note",
            f"{0 if plan.in_sample else plan.select_items} rows are held out, too few to claim a gain on new prompts.",
            f"Hold out at least {MIN_ITEMS_FOR_CLAIM} rows; from 40 on the gain is measured on rows of its own.",
        )


def _grader_failures(report: PreflightReport) -> Iterator[Finding]:
    share = report.grader.failed_share
    why = f" The most frequent reason: {report.grader.messages[0]}" if report.grader.messages else ""
    if share > MAX_FAILED_SHARE:
        yield _found(
            "grader_fails",
            "blocks",
            f"the grader failed on {share:.0%} of the answers, and a job ends at {MAX_FAILED_SHARE:.0%}.{why}",
            "Run the grader on one of these answers, mend it, and look again.",
        )
    elif share > SOME_FAILED:
        yield _found(
            "grader_fails_sometimes",
            "fix",
            f"the grader failed on {share:.1%} of the answers; these train nothing.{why}",
            "Make the grader return a number for every answer, also a bad one.",
        )


def _signal(report: PreflightReport, plan: Plan) -> Iterator[Finding]:
    """Too few groups in which answers differ: why, and what helps, depends on which side the flat rows lie."""
    planned = next((share.estimate for share in report.signal if share.planned), None)
    if planned is None:
        return
    counts, num_rows = report.counts, report.num_rows
    severity: Literal["blocks", "fix"] = "blocks" if planned.value < MIN_SIGNAL else "fix"
    groups = f"about {planned.value:.0%} of groups of {plan.group_size} would have answers that differ"
    if counts.dead > MOSTLY * num_rows and (planned.value < LOW_SIGNAL or counts.teachable < LOW_SIGNAL * num_rows):
        yield _found(
            "mostly_dead",
            severity,
            f"{counts.dead} of {num_rows} rows are dead (no answer differs, none passes); {groups}.",
            "Grade partial success, use easier rows, raise compute_multiplier for larger groups, warm the model up "
            "with supervised tuning on a few right answers, or take a larger model.",
        )
    elif counts.solved > MOSTLY * num_rows and (planned.value < LOW_SIGNAL or counts.teachable < LOW_SIGNAL * num_rows):
        yield _found(
            "mostly_solved",
            severity,
            f"{counts.solved} of {num_rows} rows are solved already (every answer passes alike); {groups}.",
            "Use harder rows or a stricter grader; or use the base as it is, with the best of several answers.",
        )
    elif planned.value < LOW_SIGNAL:
        yield _found(
            "little_signal",
            severity,
            f"{groups} ({counts.dead} rows dead, {counts.solved} solved).",
            "Grade in finer steps, or leave out rows that are dead or solved.",
        )


def _answers(report: PreflightReport, plan: Plan) -> Iterator[Finding]:
    if report.truncated_share > MAX_TRUNCATED:
        yield _found(
            "truncated",
            "fix",
            f"{report.truncated_share:.0%} of the answers were cut off at {plan.max_completion_tokens} tokens.",
            "Raise max_completion_tokens, or lower reasoning_effort.",
        )
    if report.grader.unreadable_share > MAX_UNREADABLE:
        yield _found(
            "unreadable",
            "fix",
            f"{report.grader.unreadable_share:.0%} of the answers were in a form that the grader cannot read.",
            "Say in the prompt which form is wanted, set response_format, or grade the answer wherever it stands.",
        )


def _reward_shape(report: PreflightReport) -> Iterator[Finding]:
    rewards = report.rewards
    if rewards is None or rewards.within_row_std is None:
        return
    differs = report.counts.teachable > LOW_SIGNAL * report.num_rows
    if differs and rewards.mean.value > LENIENT_MEAN and rewards.within_row_std < LENIENT_SPREAD:
        yield _found(
            "lenient",
            "fix",
            f"the mean reward is {rewards.mean.value:.2f} and answers to one prompt differ by "
            f"{rewards.within_row_std:.3f}: the grader hardly tells good from bad.",
            "Make the grader stricter, so that the best answers stand out.",
        )


def _machine(report: PreflightReport, *, update_fits: bool) -> Iterator[Finding]:
    speed, latency = report.speed, report.grader.latency_p95_s
    if speed.grading_s > speed.sampling_s and (latency or 0.0) > SLOW_GRADER_S:
        yield _found(
            "slow_grader",
            "fix",
            f"sampling took {speed.sampling_s:.1f} s and the wait for grades {speed.grading_s:.1f} s more (95 % of "
            f"grades within {latency:.2f} s).",
            "Make the grader cheaper, cache what it repeats, or give it more workers.",
        )
    memory = report.memory
    if not update_fits or memory.peak_bytes > MEMORY_SHARE * memory.total_bytes:
        what = "an update does not fit into" if not update_fits else "sampling and one update nearly fill"
        yield _found(
            "memory",
            "fix",
            f"{what} the {memory.total_bytes / 2**30:.1f} GiB of {memory.device}.",
            "Lower max_completion_tokens, group_size or batch_size, or choose a smaller base model.",
        )


def _found(code: str, severity: Literal["blocks", "fix", "note"], message: str, next_step: str) -> Finding:
    return Finding(code=code, severity=severity, message=message, next_step=next_step)
