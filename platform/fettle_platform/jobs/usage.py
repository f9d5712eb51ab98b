"""What the jobs of a project took: time, tokens and room in the store."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.db.models import Count, OuterRef, QuerySet, Subquery, Sum

from fettle_platform.accounts.scoping import Scope
from fettle_platform.datasets import selectors as datasets
from fettle_platform.jobs import selectors
from fettle_platform.jobs.models import Checkpoint, Job, JobStep, RolloutFile

MAX_JOBS = 200
_SUMS = ("working_s", "trained_tokens", "judge_tokens", "num_rollouts", "rollouts_bytes", "checkpoints_bytes")
_STATE = ("state.safetensors", "state.json")


def project_usage(scope: Scope) -> dict[str, Any]:
    """Every job, the newest first, at most `MAX_JOBS`; `total` is of all of them.

    `working_s` is the time in steps, each counted once; `trained_tokens` those of the last step that was measured.
    """
    last = JobStep.objects.filter(job=OuterRef("pk"), metrics__isnull=False).order_by("-step")
    jobs = selectors.job_search(scope).annotate(
        working_s=Subquery(last.values("elapsed_s")[:1]),
        last_metrics=Subquery(last.values("metrics")[:1]),
    )
    used = _jobs(jobs.order_by("-created_at", "-pk"))
    files = datasets.file_list(scope).aggregate(count=Count("pk"), size_bytes=Sum("size_bytes"))
    return {
        "object": "fettle.usage",
        "jobs": used[:MAX_JOBS],
        "num_jobs": len(used),
        "total": {name: sum(job[name] for job in used) for name in _SUMS},
        "files": {"count": files["count"], "size_bytes": files["size_bytes"] or 0},
    }


def _jobs(jobs: QuerySet[Job]) -> list[dict[str, Any]]:
    stored = RolloutFile.objects.filter(job__in=jobs.values("pk")).values_list("job")
    rollouts = {pk: sums for pk, *sums in stored.annotate(Sum("num_rollouts"), Sum("size_bytes"))}
    checkpoints = _checkpoint_bytes(jobs)
    found = []
    for job in jobs:
        num_rollouts, rollouts_bytes = rollouts.get(job.pk, (0, 0))
        judges = job.judge_usage.values()
        found.append(
            {
                "id": job.public_id,
                "name": job.suffix,
                "status": job.status,
                "created_at": int(job.created_at.timestamp()),
                "working_s": job.working_s or 0.0,
                "trained_tokens": job.trained_tokens or (job.last_metrics or {}).get("trained_tokens", 0),
                "judge_tokens": sum(one["prompt_tokens"] + one["completion_tokens"] for one in judges),
                "num_rollouts": num_rollouts,
                "rollouts_bytes": rollouts_bytes,
                "checkpoints_bytes": checkpoints[job.pk],
            }
        )
    return found


def _checkpoint_bytes(jobs: QuerySet[Job]) -> Counter[int]:
    """By job: adapters, and what training needs to go on, where that was not deleted yet."""
    found: Counter[int] = Counter()
    rows = Checkpoint.objects.filter(job__in=jobs.values("pk")).values_list("job", "has_state", "manifest")
    for job, has_state, manifest in rows.iterator():
        for path, entry in manifest["files"].items():
            if path.startswith("adapter/") or (has_state and path in _STATE):
                found[job] += entry["size_bytes"]
    return found
