"""Give a job of a stopped server more events: `FETTLE_DATA_DIR=... python grow_events.py JOB_ID NUMBER`.

The new events repeat the job's own metrics events, so they are as large as real ones.
"""

from __future__ import annotations

import itertools
import os
import sys

import django

BATCH = 2000


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fettle_platform.config.settings")
    django.setup()
    from django.db import transaction

    from fettle_platform.jobs.models import Job, JobEvent

    job = Job.objects.get(public_id=sys.argv[1])
    wanted = int(sys.argv[2])
    models = list(JobEvent.objects.filter(job=job, type="metrics").order_by("seq"))
    if not models:
        sys.exit(f"{job} has no metrics events to repeat")
    for first in range(job.event_seq + 1, wanted + 1, BATCH):
        numbers = range(first, min(first + BATCH, wanted + 1))
        with transaction.atomic():
            JobEvent.objects.bulk_create(
                JobEvent(
                    job=job,
                    seq=seq,
                    created_at=one.created_at,
                    level=one.level,
                    type=one.type,
                    message=one.message,
                    data=one.data,
                )
                for seq, one in zip(numbers, itertools.cycle(models), strict=False)
            )
            Job.objects.filter(pk=job.pk).update(event_seq=numbers[-1])
    print(JobEvent.objects.filter(job=job).count())


if __name__ == "__main__":
    main()
