"""How much the demo depends on luck: `make demo` for several seeds, one after the other.

    python benchmarks/demo_seeds.py                     # five seeds
    python benchmarks/demo_seeds.py --task json --seeds 3 # another task

Prints the table so far after each seed. What each figure means: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fettle_server import new_api_key, running
from machine import describe, exit_on_sigterm, footer, table

DEMO = Path(__file__).resolve().parents[1] / "examples" / "demo" / "demo.py"
DEMO_LIMIT_S = 3600


@dataclass(frozen=True)
class Outcome:
    """One run of the demo. `whole_s` is the command from start to end, `job_s` the job from creation to end."""

    seed: int
    selection: dict[str, Any]
    steps: int
    job_s: int
    whole_s: float


def main() -> int:
    exit_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", default="demo", help="folder below examples/")
    parser.add_argument("--seeds", type=int, default=5, help="how many, counted from 1")
    options = parser.parse_args()
    machine = describe()
    outcomes = []
    for seed in range(1, options.seeds + 1):
        with tempfile.TemporaryDirectory(prefix="fettle-bench-") as folder:
            outcomes.append(run_demo(options.task, seed, Path(folder)))
        print(f"\n{report(outcomes)}", flush=True)
    print(f"\nexamples/{options.task}. {footer(machine)}")
    return 0


def run_demo(task: str, seed: int, folder: Path) -> Outcome:
    """The demo as a user runs it; its data folder, which it leaves behind, is below `folder`."""
    result = folder / "selection.json"
    command = [sys.executable, DEMO, "--task", task, "--seed", str(seed), "--json", result]
    started = time.perf_counter()
    with (folder / "demo.log").open("w") as log:
        process = subprocess.Popen(command, env=os.environ | {"TMPDIR": str(folder)}, stdout=log, stderr=log)
        try:
            status = process.wait(DEMO_LIMIT_S)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)  # it ends its server then
                process.wait(60)
    whole_s = time.perf_counter() - started
    if status:
        sys.exit(f"the demo ended with status {status}:\n{(folder / 'demo.log').read_text()[-3000:]}")
    job = finished_job(next(folder.glob("fettle-demo-*")))
    selection = json.loads(result.read_text())
    return Outcome(seed, selection, job["fettle"]["step"], job["finished_at"] - job["created_at"], whole_s)


def finished_job(data_dir: Path) -> dict[str, Any]:
    """The one job of a data folder, read through the API of a server that is started for it."""
    with running(data_dir, new_api_key()) as server:
        answer = server.client.get("/fine_tuning/jobs")
        answer.raise_for_status()
        job: dict[str, Any] = answer.json()["data"][0]
        return job


def report(outcomes: list[Outcome]) -> str:
    header = [
        "seed",
        "base",
        "tuned",
        "gain",
        "95 % interval",
        "verdict",
        "chosen step",
        "steps",
        "job, s",
        "whole demo, s",
    ]
    rows = [cells(outcome) for outcome in outcomes]
    middle = ["median", *(f"{median(outcomes, name):.3f}" for name in ("base_mean", "chosen_mean"))]
    middle += [f"{median(outcomes, 'gain'):+.3f}", "", "", "", f"{statistics.median(o.steps for o in outcomes):.0f}"]
    middle += [f"{statistics.median(o.job_s for o in outcomes):.0f}"]
    middle += [f"{statistics.median(o.whole_s for o in outcomes):.0f}"]
    return table(header, [*rows, middle])


def cells(outcome: Outcome) -> list[str]:
    found = outcome.selection
    return [
        str(outcome.seed),
        f"{found['base_mean']:.3f}",
        f"{found['chosen_mean']:.3f}",
        f"{found['gain']:+.3f}",
        f"{found['gain_low']:+.3f} to {found['gain_high']:+.3f}",
        found["verdict"],
        str(found["chosen_step"]),
        str(outcome.steps),
        str(outcome.job_s),
        f"{outcome.whole_s:.0f}",
    ]


def median(outcomes: list[Outcome], name: str) -> float:
    return float(statistics.median(outcome.selection[name] for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
