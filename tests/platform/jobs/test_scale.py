"""A job with a hundred thousand events answers as fast as one with ten."""

import time

import pytest
from django.db import connection

from fettle_platform.jobs.models import Job, JobEvent


@pytest.mark.slow
def test_pages_of_a_hundred_thousand_events_take_tens_of_milliseconds(api, create, said):
    job = create()
    count = 100_000
    JobEvent.objects.filter(job=job).delete()
    JobEvent.objects.bulk_create(
        (
            JobEvent(
                public_id=f"ftevent-{seq}",
                job=job,
                seq=seq,
                created_at=said.now,
                level="info",
                type="metrics",
                message="m",
                data={"step": seq},
            )
            for seq in range(1, count + 1)
        ),
        batch_size=5000,
    )
    Job.objects.filter(pk=job.pk).update(event_seq=count)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # what PostgreSQL does by itself after so many rows
    base = f"/v1/fine_tuning/jobs/{job.public_id}"
    middle = JobEvent.objects.get(job=job, seq=count // 2).public_id
    for path in (base, f"{base}/events", f"{base}/events?limit=100&after={middle}"):
        api.get(path)
        durations = []
        for _ in range(5):
            begun = time.perf_counter()
            assert api.get(path).status_code == 200
            durations.append(time.perf_counter() - begun)
        assert min(durations) < 0.1, path
