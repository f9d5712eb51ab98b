"""The workers' Celery application. A message is only a wake-up: it may be lost or doubled without harm."""

from __future__ import annotations

import threading

from celery import Celery
from celery.signals import worker_shutting_down

from fettle_workers.env import worker_settings

QUEUE = "train"

app = Celery("fettle_workers", broker=worker_settings().broker_url, include=["fettle_workers.tasks"])
app.conf.update(
    task_default_queue=QUEUE,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=False,  # hours-long messages must not be held un-acknowledged on Redis or RabbitMQ
    worker_prefetch_multiplier=1,
    worker_send_task_events=False,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 600},
)

# Set once, when this worker is asked to end: running attempts are handed back at the next step boundary.
stopping = threading.Event()


@worker_shutting_down.connect
def _hand_back(**_: object) -> None:
    stopping.set()
