"""Committed steps: which are kept and served, and which of their files may go.

Kept are the three candidates with the highest validation mean, and the chosen one. Adapters stay in the store until
the job has ended, because the choice at the end is made among all candidates; optimizer state stays for the newest two.
"""

from __future__ import annotations

import logging
from datetime import datetime

from django.db import transaction

from fettle_platform.core.errors import InvalidRequest
from fettle_platform.core.storage import StoreError, get_store
from fettle_platform.jobs.metrics import checkpoint_metrics
from fettle_platform.jobs.models import Checkpoint, Job, JobStep, RolloutFile
from fettle_platform.jobs.selectors import read_evaluation, read_metrics
from fettle_platform.registry import services as registry
from fettle_workers.contract.events import CheckpointCommitted, RolloutsStored

log = logging.getLogger(__name__)

NUM_KEPT = 3
NUM_STATES = 2
STATE_FILES = ("state.safetensors", "state.json")
ROLLOUTS = "rollouts.parquet"
ADAPTER_FOLDER = "adapter/"


def checkpoint_commit(job: Job, event: CheckpointCommitted, *, now: datetime) -> Checkpoint:
    """Store the row of a checkpoint whose files the supervisor has uploaded; a redone step replaces its row.

    Raises:
        InvalidRequest: the event does not name a place in the store that belongs to this job.
    """
    store_prefix = _own_place(job, event.store_prefix, f"checkpoint of step {event.step}")
    manifest = event.manifest
    values = {
        "adapter_digest": manifest.adapter_digest,
        "store_prefix": store_prefix,
        "has_state": True,
        "manifest": manifest.model_dump(mode="json"),
        "candidate": event.candidate,
    }
    checkpoint, _ = Checkpoint.objects.update_or_create(
        job=job, step=event.step, defaults=values, create_defaults=values | {"created_at": now}
    )
    files = {
        path.removeprefix(ADAPTER_FOLDER): entry.model_dump()
        for path, entry in manifest.files.items()
        if path.startswith(ADAPTER_FOLDER)
    }
    registry.adapter_note(digest=manifest.adapter_digest, base_model=job.spec["base_model"], files=files, now=now)
    _index_rollouts(job, event)
    checkpoint_measure(job, event.step, now=now)
    _drop_old_states(job)
    return checkpoint


def _index_rollouts(job: Job, event: CheckpointCommitted) -> None:
    entry = event.manifest.files.get(ROLLOUTS)
    if entry is None or not event.manifest.num_rollouts:
        return
    first = event.manifest.first_rollout_step
    RolloutFile.objects.update_or_create(
        job=job,
        last_step=event.step,
        final=False,
        defaults={
            "first_step": event.step if first is None else first,
            "key": f"{_folder(event.store_prefix or '')}{ROLLOUTS}",
            "num_rollouts": event.manifest.num_rollouts,
            "size_bytes": entry.size_bytes,
            "sha256": entry.sha256,
        },
    )


def index_final_rollouts(job: Job, event: RolloutsStored) -> None:
    """Note where the final measurements lie. What an attempt that died before its end had noted is replaced.

    Raises:
        InvalidRequest: the event does not name a place in the store that belongs to this job.
    """
    store_prefix = _own_place(job, event.store_prefix, "rollouts of the final measurements")
    RolloutFile.objects.update_or_create(
        job=job,
        final=True,
        defaults={
            "first_step": event.first_step,
            "last_step": event.last_step,
            "key": f"{_folder(store_prefix)}{ROLLOUTS}",
            "num_rollouts": event.num_rollouts,
            "size_bytes": event.entry.size_bytes,
            "sha256": event.entry.sha256,
        },
    )


def _own_place(job: Job, store_prefix: str | None, what: str) -> str:
    """Raises InvalidRequest: a worker may only name places in the store that belong to its job."""
    folder = f"jobs/{job.public_id}/"
    if store_prefix is None or not store_prefix.startswith(folder) or ".." in store_prefix:
        raise InvalidRequest(f"{what}: store_prefix is {store_prefix!r}; expected it below {folder}", param="events")
    return store_prefix


def checkpoint_measure(job: Job, step: int, *, now: datetime) -> None:
    """Copy what was measured at a step to its checkpoint, if there is one, and choose again which are kept."""
    checkpoint = Checkpoint.objects.filter(job=job, step=step).first()
    record = JobStep.objects.filter(job=job, step=step).first()
    if checkpoint is None or record is None:
        return
    evaluation = read_evaluation(record.evaluation)
    checkpoint.metrics = checkpoint_metrics(step, read_metrics(record.metrics), evaluation, method=job.method)
    checkpoint.mean = evaluation.mean if evaluation else None
    checkpoint.save(update_fields=["metrics", "mean"])
    keep_best(job, now=now)


def keep_best(job: Job, *, now: datetime) -> None:
    """Keep the three best candidates and the chosen one, and serve exactly these. Equal means: the earlier step."""
    candidates = list(Checkpoint.objects.filter(job=job, candidate=True))
    ranked = sorted((c for c in candidates if c.mean is not None), key=lambda c: (-(c.mean or 0.0), c.step))
    best = {checkpoint.pk for checkpoint in ranked[:NUM_KEPT]} | {c.pk for c in candidates if c.chosen}
    dropped = [c for c in candidates if c.kept and c.pk not in best]
    Checkpoint.objects.filter(pk__in=[c.pk for c in dropped]).update(kept=False)
    registry.model_unregister(public_ids=[registry.checkpoint_name(job.fine_tuned_name, c.step) for c in dropped])
    for checkpoint in candidates:
        if checkpoint.pk in best:
            _serve(job, checkpoint, now=now)
    Checkpoint.objects.filter(pk__in=best).update(kept=True)


def _serve(job: Job, checkpoint: Checkpoint, *, now: datetime) -> None:
    registry.model_register(
        project=job.project,
        public_id=registry.checkpoint_name(job.fine_tuned_name, checkpoint.step),
        base_model=job.spec["base_model"],
        adapter_digest=checkpoint.adapter_digest,
        job_id=job.public_id,
        step=checkpoint.step,
        is_checkpoint=True,
        parent=job.model,
        details={"metrics": checkpoint.metrics},
        now=now,
    )


def _drop_old_states(job: Job) -> None:
    """The newest two states are enough to go on; the others are deleted once that is durable."""
    old = list(Checkpoint.objects.filter(job=job, has_state=True).order_by("-step")[NUM_STATES:])
    if not old:
        return
    Checkpoint.objects.filter(pk__in=[checkpoint.pk for checkpoint in old]).update(has_state=False)
    keys = [f"{_folder(checkpoint.store_prefix)}{name}" for checkpoint in old for name in STATE_FILES]
    transaction.on_commit(lambda: delete_blobs(keys), robust=True)


def delete_blobs(keys: list[str]) -> bool:
    """False: the store could not be reached; what is left is collected after the job has ended."""
    store = get_store()
    try:
        for key in keys:
            store.delete(key)
    except StoreError as error:
        log.warning("could not delete training state: %s", error)
        return False
    return True


def job_sweep(job: Job) -> bool:
    """Delete the training state of an ended job, also what a lost attempt left behind. Rollouts and adapters stay."""
    try:
        keys = [key for key in get_store().list(f"jobs/{job.public_id}/") if key.rsplit("/", 1)[-1] in STATE_FILES]
    except StoreError as error:
        log.warning("could not list the training state of %s: %s", job.public_id, error)
        return False
    if not delete_blobs(keys):
        return False
    Checkpoint.objects.filter(job=job).update(has_state=False)
    Job.objects.filter(pk=job.pk).update(swept=True)
    return True


def _folder(prefix: str) -> str:
    return prefix if prefix.endswith("/") else f"{prefix}/"
