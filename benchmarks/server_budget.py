"""What a whole Fettle server costs: start, memory while it trains and while it takes a large file, and its latencies.

    python benchmarks/server_budget.py             # a few minutes; everything in a throw-away folder, on loopback
    python benchmarks/server_budget.py --quick     # smaller numbers everywhere, to see that it works

What each figure means: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fettle_server import MemoryPeak, Server, new_api_key, running, wait_until_settled
from machine import describe, exit_on_sigterm, footer, spread, table

HERE = Path(__file__).resolve().parent
TASK = HERE.parent / "examples" / "demo"
JOB_LIMIT_S = 1800
POLL_S = 0.25
MB = 10**6


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    starts: int = 5
    upload_mb: int = 1000
    events: int = 100_000
    requests: int = 300
    max_steps: int | None = None


QUICK = Size(starts=1, upload_mb=50, events=2000, requests=20, max_steps=5)
Row = tuple[str, str]


def main() -> int:
    exit_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it works")
    size = QUICK if parser.parse_args().quick else Size()
    machine, api_key = describe(), new_api_key()
    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as folder:
        root = Path(folder)
        rows = told(measure_starts(root, api_key, size))
        data_dir = root / "data"
        with running(data_dir, api_key) as server:
            job_id, job_rows = measure_job(server, size)
        rows += told(job_rows)
        limit = str(2 * size.upload_mb * MB)
        with running(root / "upload", api_key, FETTLE_MAX_FILE_BYTES=limit) as server:
            rows += told(measure_upload(server, root, size))
        count = grow_events(data_dir, job_id, size)
        with running(data_dir, api_key) as server:
            rows += told(measure_latencies(server, job_id, count, size))
    print(table(["", "measured"], rows))
    print(f"\n{footer(machine)}")
    print(", ".join(f"{name} {version(name)}" for name in ("fettle-server", "django", "uvicorn", "torch")))
    return 0


def told(rows: list[Row]) -> list[Row]:
    """The same rows, shown at once as well: the whole takes minutes."""
    for name, value in rows:
        print(f"{name}: {value}", file=sys.stderr, flush=True)
    return rows


def measure_starts(root: Path, api_key: str, size: Size) -> list[Row]:
    """Starts in empty folders, where the database is made, and on a folder that was used before."""
    first = [start_s(root / f"start-{number}", api_key) for number in range(size.starts)]
    later = [start_s(root / "start-0", api_key) for _ in range(size.starts)]
    return [
        ("`fettle up` to /healthz, empty folder", f"{spread(first)} s, {size.starts} runs"),
        ("`fettle up` to /healthz, used folder", f"{spread(later)} s, {size.starts} runs"),
    ]


def start_s(data_dir: Path, api_key: str) -> float:
    with running(data_dir, api_key) as server:
        return server.start_s


def measure_job(server: Server, size: Size) -> tuple[str, list[Row]]:
    """The demo job, watched from its acceptance to its end."""
    wait_until_settled(server.pid)
    with MemoryPeak(server.pid, tree=True) as memory:
        job_id = create_demo_job(server, size.max_steps)
        accepted = time.perf_counter()
        first_step_s = None
        for job in job_until_end(server, job_id):
            if first_step_s is None and job["fettle"]["step"] >= 1:
                first_step_s = time.perf_counter() - accepted
        whole_s = time.perf_counter() - accepted
    if job["status"] != "succeeded" or first_step_s is None:
        sys.exit(f"the demo job ended as {job['status']}: {job['error']}")
    parts = ", ".join(f"{name} {size / MB:.0f}" for name, size in sorted(memory.at_peak.items(), key=lambda p: -p[1]))
    return job_id, [
        ("Job accepted to first training step done", f"{first_step_s:.1f} s"),
        ("Job accepted to job ended", f"{whole_s:.1f} s, {job['fettle']['step']} steps"),
        ("Memory of all processes at rest (PSS)", f"{memory.before / MB:.0f} MB"),
        ("Memory of all processes, peak while training (PSS)", f"{memory.peak / MB:.0f} MB: {parts}"),
    ]


def create_demo_job(server: Server, max_steps: int | None) -> str:
    files = {name: upload(server, TASK / f"{name}.jsonl", "fine-tune") for name in ("train", "validation")}
    grader = json.loads((TASK / "grader.json").read_text())
    hyperparameters = {} if max_steps is None else {"max_steps": max_steps}
    body = {
        "model": "fettle-tiny",
        "training_file": files["train"],
        "validation_file": files["validation"],
        "method": {"type": "reinforcement", "reinforcement": {"grader": grader, "hyperparameters": hyperparameters}},
        "seed": 1,
    }
    return str(call(server, "POST", "/fine_tuning/jobs", json=body)["id"])


def job_until_end(server: Server, job_id: str) -> Iterator[dict[str, Any]]:
    deadline = time.perf_counter() + JOB_LIMIT_S
    while time.perf_counter() < deadline:
        job = call(server, "GET", f"/fine_tuning/jobs/{job_id}")
        yield job
        if job["status"] in ("succeeded", "failed", "cancelled"):
            return
        time.sleep(POLL_S if job["fettle"]["step"] < 1 else 1.0)
    sys.exit(f"the demo job did not end within {JOB_LIMIT_S} s")


def measure_upload(server: Server, root: Path, size: Size) -> list[Row]:
    """One large file; the growth is the serving process's own, above what it held before."""
    path = root / "large.bin"
    with path.open("wb") as file:
        file.truncate(size.upload_mb * MB)
    wait_until_settled(server.pid)
    with MemoryPeak(server.pid, tree=False) as memory:
        started = time.perf_counter()
        upload(server, path, "user_data")
        seconds = time.perf_counter() - started
    path.unlink()
    growth = (memory.peak - memory.before) / MB
    return [
        (f"Upload of {size.upload_mb} MB", f"{seconds:.1f} s, {size.upload_mb / seconds:.0f} MB/s"),
        ("Memory growth of the server during that upload (PSS)", f"{growth:.1f} MB above {memory.before / MB:.0f} MB"),
    ]


def upload(server: Server, path: Path, purpose: str) -> str:
    with path.open("rb") as file:
        return str(call(server, "POST", "/files", data={"purpose": purpose}, files={"file": (path.name, file)})["id"])


def grow_events(data_dir: Path, job_id: str, size: Size) -> int:
    """How many events the job has afterwards."""
    done = subprocess.run(
        [sys.executable, HERE / "grow_events.py", job_id, str(size.events)],
        env=os.environ | {"FETTLE_DATA_DIR": str(data_dir)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=600,
    )
    return int(done.stdout)


def measure_latencies(server: Server, job_id: str, num_events: int, size: Size) -> list[Row]:
    """One request at a time over one connection, after ten that do not count."""
    wait_until_settled(server.pid)
    path = f"/fine_tuning/jobs/{job_id}"
    oldest = oldest_page(server, path, num_events)
    requests = {
        "GET job": path,
        "GET events?limit=20": f"{path}/events?limit=20",
        "GET events?limit=20, deep in the list": f"{path}/events?limit=20&after={oldest}",
    }
    return [
        (f"{name}, {num_events} events", quantiles(lambda path=path: call(server, "GET", path), size.requests))
        for name, path in requests.items()
    ]


def oldest_page(server: Server, path: str, num_events: int) -> str:
    """An event id from far back: the last of as many full pages as half the list has, in at most 100 requests."""
    after = ""
    for _ in range(min(100, max(1, num_events // 2000))):
        page = call(server, "GET", f"{path}/events?limit=1000{after and '&after='}{after}")
        after = page["data"][-1]["id"]
    return after


def quantiles(request: Callable[[], object], number: int) -> str:
    for _ in range(10):
        request()
    times_ms = []
    for _ in range(number):
        started = time.perf_counter()
        request()
        times_ms.append(1000 * (time.perf_counter() - started))
    cuts = statistics.quantiles(times_ms, n=20, method="inclusive")
    return f"p50 {cuts[9]:.1f} ms, p95 {cuts[18]:.1f} ms, {number} requests"


def call(server: Server, method: str, path: str, **arguments: Any) -> dict[str, Any]:
    answer = server.client.request(method, path, **arguments)
    if answer.status_code != 200:
        sys.exit(f"{method} {path} answered {answer.status_code}: {answer.text[:500]}")
    body: dict[str, Any] = answer.json()
    return body


if __name__ == "__main__":
    sys.exit(main())
