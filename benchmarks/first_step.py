"""How long a job waits for its first training step, and for what: on a new server, and on one that has settled.

    python benchmarks/first_step.py --servers 3 --jobs 3      # throw-away folders, on loopback

What each figure means: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fettle_server import Server, new_api_key, process_tree, running, wait_until_settled
from machine import describe, exit_on_sigterm, footer, spread, table
from server_budget import call, create_demo_job

JOB_LIMIT_S = 120
POLL_S = 0.1
# What the server wrote down when, as seconds after it accepted the job.
MOMENTS = {
    "files checked, queued": "type = 'message' AND message LIKE 'Files validated%'",
    "claimed by the worker": "type = 'message' AND message LIKE 'Attempt % was taken%'",
    "trainer ready": "type = 'message' AND message LIKE '% started'",
    "base evaluated (step 0)": "type = 'metrics' AND json_extract(data, '$.step') = 0",
    "first training step done": "type = 'metrics' AND json_extract(data, '$.step') = 1",
}
CPU = "processor seconds until then, all processes"
Moments = dict[str, float]


def main() -> int:
    exit_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--servers", type=int, default=3, help="servers started, one job at once on each")
    parser.add_argument("--jobs", type=int, default=3, help="jobs on each server after it has settled")
    options = parser.parse_args()
    machine = describe()
    cold: list[Moments] = []
    warm: list[Moments] = []
    for _ in range(options.servers):
        at_once, *settled = measure_server(options.jobs)
        cold.append(at_once)
        warm += settled
    rows = [(name, *(spread([job[name] for job in jobs], 2) for jobs in (cold, warm))) for name in (*MOMENTS, CPU)]
    print(table(["seconds from acceptance", f"server just started, {len(cold)} jobs", f"settled, {len(warm)}"], rows))
    print(f"\n{footer(machine)}")
    print(", ".join(f"{name} {version(name)}" for name in ("fettle-server", "torch", "transformers")))
    return 0


def measure_server(num_settled: int) -> Iterator[Moments]:
    """A job as soon as the server answers, then others, each when server and worker have come to rest."""
    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as folder:
        data_dir = Path(folder) / "data"
        with running(data_dir, new_api_key()) as server:
            yield measure_job(server, data_dir)
            for _ in range(num_settled):
                wait_until_settled(server.pid)
                yield measure_job(server, data_dir)


def measure_job(server: Server, data_dir: Path) -> Moments:
    job_id = create_demo_job(server, max_steps=None)
    before = cpu_s(server.pid)
    wait_for(server, job_id, lambda job: job["fettle"]["step"] >= 1)
    used = cpu_s(server.pid) - before
    call(server, "POST", f"/fine_tuning/jobs/{job_id}/cancel")
    wait_for(server, job_id, lambda job: job["status"] == "cancelled")
    moments = read_moments(data_dir / "fettle.sqlite3", job_id) | {CPU: used}
    print({name: round(seconds, 2) for name, seconds in moments.items()}, file=sys.stderr, flush=True)
    return moments


def cpu_s(pid: int) -> float:
    """Processor time so far of a process and its descendants, children that ended included."""
    times = (Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()[11:15] for one in process_tree(pid))
    return sum(int(ticks) for process in times for ticks in process) / os.sysconf("SC_CLK_TCK")


def wait_for(server: Server, job_id: str, reached: Callable[[dict[str, Any]], bool]) -> None:
    deadline = time.monotonic() + JOB_LIMIT_S
    while time.monotonic() < deadline:
        job = call(server, "GET", f"/fine_tuning/jobs/{job_id}")
        if reached(job):
            return
        if job["status"] == "failed":
            sys.exit(f"{job_id} failed: {job['error']}")
        time.sleep(POLL_S)
    sys.exit(f"{job_id} is {job['status']} at step {job['fettle']['step']} after {JOB_LIMIT_S} s")


def read_moments(database: Path, job_id: str) -> Moments:
    """From the times in the server's own database, which an API answer gives in whole seconds only."""
    query = "SELECT id, created_at FROM jobs_job WHERE public_id = ?"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        pk, accepted = connection.execute(query, [job_id]).fetchone()
        return {name: _first(connection, pk, which) - _seconds(accepted) for name, which in MOMENTS.items()}


def _first(connection: sqlite3.Connection, pk: int, which: str) -> float:
    query = f"SELECT created_at FROM jobs_jobevent WHERE job_id = ? AND {which} ORDER BY seq LIMIT 1"
    return _seconds(connection.execute(query, [pk]).fetchone()[0])


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    sys.exit(main())
