"""The curves of a job: what was measured at its steps, thinned for drawing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from fettle_platform.jobs.models import Job, JobStep

Point = tuple[int, float]
MAX_POINTS = 2000
SPARKLINE_POINTS = 60
_NOT_CURVES = ("step", "total_steps", "graders", "timing", "eta_s", "num_completions")
_OF_EVALUATION = (
    "step",
    "mean",
    "standard_error",
    "kl_nats",
    "num_items",
    "samples_per_item",
    "in_sample",
    "completion_tokens_mean",
    "reasoning_tokens_mean",
    "truncated_share",
)


def job_curves(job: Job, *, after: int | None, until: int | None, limit: int) -> dict[str, Any]:
    """Every number of the steps beyond `after`, up to `until`, as a series of at most `limit` points; the evaluations.

    `elapsed_s` is the working time since the first step: where the others lie on an axis of time. A redone step counts
    once. Series of graders are called `grader/<name>`. No other steps are read than those asked for.
    """
    series: dict[str, list[Point]] = defaultdict(list)
    evaluations = []
    last_step = None
    steps = JobStep.objects.filter(job=job)
    if after is not None:
        steps = steps.filter(step__gt=after)
    if until is not None:
        steps = steps.filter(step__lte=until)
    rows = steps.order_by("step").values_list("step", "metrics", "evaluation", "elapsed_s")
    for step, metrics, evaluation, elapsed_s in rows.iterator():
        last_step = step
        if metrics:
            series["elapsed_s"].append((step, elapsed_s))
            for name, value in _numbers(metrics):
                series[name].append((step, value))
        if evaluation:
            evaluations.append(_evaluation(evaluation))
    return {
        "object": "fettle.metrics",
        "fine_tuning_job_id": job.public_id,
        "attempt": job.attempt,
        "last_step": last_step,
        "series": [{"name": name, "points": thinned(series[name], limit)} for name in sorted(series)],
        "evaluations": evaluations,
    }


def _numbers(metrics: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in metrics.items():
        if name not in _NOT_CURVES and isinstance(value, int | float):
            yield name, value
    for name, value in metrics.get("timing", {}).items():
        yield name, value
    for grader in metrics.get("graders", ()):
        if grader.get("train_reward_mean") is not None:
            yield f"grader/{grader['name']}", grader["train_reward_mean"]


def _evaluation(evaluation: dict[str, Any]) -> dict[str, Any]:
    graders = {one["name"]: one.get("valid_reward_mean") for one in evaluation.get("graders", ())}
    return {name: evaluation.get(name) for name in _OF_EVALUATION} | {"graders": graders}


def thinned(points: Sequence[Point], limit: int) -> list[Point]:
    """At most `limit` of the points: the ends, and lowest and highest of equal stretches, so that no spike is lost.

    `limit` is at least 4.
    """
    if len(points) <= limit:
        return list(points)
    inner, stretches = points[1:-1], (limit - 2) // 2
    kept = [points[0]]
    for number in range(stretches):
        part = inner[number * len(inner) // stretches : (number + 1) * len(inner) // stretches]
        low, high = min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])
        kept += [low] if low == high else sorted((low, high))
    return [*kept, points[-1]]


def progress_of(jobs: Sequence[Job]) -> dict[int, dict[str, Any]]:
    """For a list of jobs: the held-out score at each evaluation, and the best of them. One query for all."""
    rows = JobStep.objects.filter(job__in=jobs, evaluation__isnull=False).order_by("step")
    found: dict[int, list[tuple[int, float, float]]] = defaultdict(list)
    for job, *evaluation in rows.values_list("job", "step", "evaluation__mean", "evaluation__standard_error"):
        found[job].append(tuple(evaluation))
    return {job.pk: _progress(found[job.pk]) for job in jobs}


def _progress(evaluations: Sequence[tuple[int, float, float]]) -> dict[str, Any]:
    known = [one for one in evaluations if one[1] is not None]
    best = max(known, key=lambda one: (one[1], -one[0]), default=None)
    return {
        "held_out": thinned([(step, mean) for step, mean, _ in known], SPARKLINE_POINTS),
        "best": dict(zip(("step", "mean", "standard_error"), best, strict=True)) if best else None,
    }
