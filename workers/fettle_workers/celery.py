"""The workers' Celery application. A message is only a wake-up: it may be lost or doubled without harm."""

from __future__ import annotations

import threading

from celery import Celery, bootsteps
from celery.signals import worker_shutting_down

from fettle_workers.env import worker_settings
from fettle_workers.supervisor.next_trainer import NextTrainer
from fettle_workers.supervisor.trainer import trainer_command

QUEUE = "train"

_settings = worker_settings()

app = Celery("fettle_workers", broker=_settings.broker_url, include=["fettle_workers.tasks"])
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
    # Kombu's default for the broker inside this process is a look into the queue once a second.
    broker_transport_options={"polling_interval": 0.05}
    if _settings.broker_url.startswith("memory:")
    else {"visibility_timeout": 600},
)

# Set once, when this worker is asked to end: running attempts are handed back at the next step boundary.
stopping = threading.Event()


@worker_shutting_down.connect
def _hand_back(**_: object) -> None:
    stopping.set()


trainers = NextTrainer(trainer_command(_settings), threads=_settings.threads, folder=_settings.scratch)


class _TrainerInAdvance(bootsteps.StartStopStep):
    """The first job's trainer is started with the worker; the task starts the later ones."""

    def start(self, worker: object) -> None:
        trainers.prepare()

    def stop(self, worker: object) -> None:
        trainers.close()

    terminate = stop


app.steps["worker"].add(_TrainerInAdvance)
