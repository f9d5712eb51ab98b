"""Taking away what nobody can need any more."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from fettle_platform.core.storage import StoreError, get_store
from fettle_platform.jobs.checkpoints import job_sweep
from fettle_platform.jobs.models import Checkpoint, Job
from fettle_platform.jobs.states import TERMINAL
from fettle_platform.registry.models import Adapter, Model

log = logging.getLogger(__name__)

ADAPTER_GRACE = timedelta(days=1)
"""Adapters are content-addressed: a worker may just now be relying on one that is already there."""
_PER_ROUND = 50


def jobs_sweep() -> int:
    """Delete the training state of jobs that have ended. Returns how many jobs were swept."""
    ended = Job.objects.filter(swept=False, status__in=TERMINAL)[:_PER_ROUND]
    return sum(job_sweep(job) for job in ended)


def adapters_collect(*, now: datetime) -> int:
    """Delete adapters that no model, no kept checkpoint and no unfinished job names. Returns how many."""
    unused = (
        Adapter.objects.filter(last_used_at__lt=now - ADAPTER_GRACE)
        .exclude(digest__in=Model.objects.values("adapter_digest"))
        .exclude(digest__in=Checkpoint.objects.filter(kept=True).values("adapter_digest"))
        .exclude(digest__in=Checkpoint.objects.exclude(job__status__in=TERMINAL).values("adapter_digest"))
        .exclude(digest__in=Job.objects.exclude(status__in=TERMINAL).values("init_adapter"))
    )
    collected = 0
    for adapter in unused[:_PER_ROUND]:
        if not _delete_files(adapter):
            break
        adapter.delete()
        collected += 1
    return collected


def _delete_files(adapter: Adapter) -> bool:
    """The manifest goes first: without it nobody takes the rest for an adapter."""
    folder = f"adapters/{adapter.digest}/"
    store = get_store()
    try:
        store.delete(f"{folder}manifest.json")
        for name in adapter.files:
            store.delete(f"{folder}{name}")
    except StoreError as error:
        log.warning("could not delete adapter %s: %s", adapter.digest, error)
        return False
    return True
