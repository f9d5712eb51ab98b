"""The one Celery task of a training worker."""

from __future__ import annotations

from fettle_workers.celery import app, stopping, trainers
from fettle_workers.env import worker_settings
from fettle_workers.supervisor.supervise import supervise


@app.task(name="fettle.train")
def train(*, job_id: str, attempt: int) -> None:
    """Supervise one attempt of a job, from claim to its last event."""
    if stopping.is_set():
        return
    try:
        supervise(job_id, attempt, settings=worker_settings(), stop=stopping, trainers=trainers)
    finally:
        if not stopping.is_set():
            trainers.prepare()
