"""Telling workers that a job waits. The message is a hint: the queued row is the truth, and the tick repeats it."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from django.conf import settings
from django.db import transaction
from kombu.exceptions import KombuError, OperationalError

from fettle_platform.jobs.wake import wake_tick

log = logging.getLogger(__name__)

TASK = "fettle.train"
QUEUE = "train"
# The tick re-sends what was lost, so a dead broker may cost a request this long and no more.
PUBLISH_TIMEOUT_S = 0.3
# While all workers are busy the repeats pile up; a worker drops those older than this unread. Much longer than clocks
# of different hosts disagree.
EXPIRES_S = 300


@cache
def broker() -> Celery:
    """The Celery application that sends wake-ups: no task runs in it and no result is kept."""
    app = Celery("fettle", broker=settings.FETTLE.broker_url, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_publish_retry=False,
        broker_connection_timeout=PUBLISH_TIMEOUT_S,
        broker_transport_options=_transport_options(settings.FETTLE.broker_url),
    )
    return app


def _transport_options(url: str) -> dict[str, Any]:
    if urlsplit(url).scheme in ("redis", "rediss"):
        return {
            "socket_connect_timeout": PUBLISH_TIMEOUT_S,
            "socket_timeout": PUBLISH_TIMEOUT_S,
            "retry_on_timeout": False,
            "max_retries": 0,
        }
    return {"max_retries": 0}


def announce_on_commit(job_id: str, attempt: int) -> None:
    """Send the wake-up when the surrounding transaction is durable; never raises."""
    transaction.on_commit(lambda: announce(job_id, attempt), robust=True)


def announce(job_id: str, attempt: int) -> bool:
    """Send one wake-up. False: the broker cannot be reached, and the tick tries again later."""
    wake_tick()
    try:
        broker().send_task(
            TASK,
            kwargs={"job_id": job_id, "attempt": attempt},
            queue=QUEUE,
            retry=False,
            ignore_result=True,
            expires=EXPIRES_S,
        )
    except (KombuError, OperationalError, OSError) as error:
        log.warning("job %s: the wake-up was not sent, the next tick repeats it: %s", job_id, error)
        return False
    return True
