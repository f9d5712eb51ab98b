"""What must happen without anybody asking: a round every few seconds, in any number of processes.

Every part may run twice at once or be cut off in the middle: whatever changes a row does so only if the row still is
as it was read.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from django.db import close_old_connections
from django.utils import timezone

from fettle_platform.accounts.sessions import sessions_expire
from fettle_platform.core.idempotency import given_answers_expire
from fettle_platform.datasets.services import files_expire
from fettle_platform.datasets.upload_services import uploads_expire
from fettle_platform.jobs.housekeeping import adapters_collect, jobs_sweep
from fettle_platform.jobs.leases import jobs_dispatch, jobs_reap
from fettle_platform.jobs.validation import jobs_validate
from fettle_platform.jobs.wake import wait_for_wake, wake_tick
from fettle_platform.webhooks.deliver import deliveries_expire, deliveries_start

__all__ = ["tick", "tick_loop", "wake_tick"]

log = logging.getLogger(__name__)

TICK_S = 5.0

PARTS: dict[str, Callable[[datetime], int]] = {
    "reap": lambda now: jobs_reap(now=now),
    "validate": lambda now: jobs_validate(now=now),
    "dispatch": lambda now: jobs_dispatch(now=now),
    "sweep": lambda now: jobs_sweep(),
    "uploads": lambda now: uploads_expire(),
    "files": lambda now: files_expire(),
    "idempotency": lambda now: given_answers_expire(),
    "sessions": lambda now: sessions_expire(),
    "adapters": lambda now: adapters_collect(now=now),
    "webhooks": lambda now: deliveries_start(now=now),
    "webhook log": lambda now: deliveries_expire(now=now),
}


def tick(*, now: datetime | None = None, stop: threading.Event | None = None) -> dict[str, int | None]:
    """One round, cut short by `stop`: with the database away each part waits for it.

    Returns:
        For each part how many things it did; None for a part that failed, which stops no other.
    """
    done: dict[str, int | None] = {}
    for name, part in PARTS.items():
        if stop is not None and stop.is_set():
            break
        try:
            done[name] = part(now or timezone.now())
        except Exception:  # the loop must outlive any one fault, and the next round tries again
            log.exception("tick: part %s failed", name)
            done[name] = None
    return done


def tick_loop(stop: threading.Event, *, interval_s: float = TICK_S) -> None:
    """Run rounds until `stop` is set, early whenever `wake_tick` rings. To end it at once: set `stop`, then ring."""
    while not stop.is_set():
        close_old_connections()
        tick(stop=stop)
        close_old_connections()
        wait_for_wake(interval_s)
