"""What running code in the sandbox costs: starting a worker, one call, many calls, a program of the model's.

    python benchmarks/sandbox.py        # under a minute; both tiers, one worker each

What each figure means: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import suppress

from machine import describe, exit_on_sigterm, footer, spread, table

from fettle_graders.compile import compile_grader
from fettle_graders.errors import SandboxFault
from fettle_graders.sample import Sample
from fettle_graders.sandbox.failure import CodeFailure
from fettle_graders.sandbox.jail import values
from fettle_graders.sandbox.pool import Sandbox
from fettle_graders.sandbox.programs import run_program
from fettle_graders.sandbox.tenant import CodeSandbox
from fettle_graders.sandbox.tiers import TIERS, Limits, Tier
from fettle_graders.sandbox.worker import Worker
from fettle_graders.services import Services
from fettle_graders.spec import parse_grader

TRIVIAL = "def grade(sample, item):\n    return len(sample['output_text']) % 2\n"
WORDS = "import re\ndef grade(sample, item):\n    return len(re.findall(r'\\w+', sample['output_text'])) / 1000\n"
LOOP = "def grade(sample, item):\n    while True: pass\n"
COMPLETION = ("The answer is forty-two. " * 82)[:2048]
ROW = {"answer": "42", "reference": COMPLETION}
Row = tuple[str, ...]


def main() -> int:
    exit_on_sigterm()
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    machine = describe()
    columns = {tier: measure(tier) for tier in TIERS}
    names = list(next(column for column in columns.values() if column))
    rows = [(name, *(column.get(name, "not here") for column in columns.values())) for name in names]
    print(table(("", *columns), rows))
    print(f"\n{footer(machine)}")
    return 0


def measure(tier: Tier) -> dict[str, str]:
    """Every figure of one tier; empty where the tier does not run."""
    with Sandbox(size=1, tiers=(tier,), limits=Limits(call_s=0.5)) as sandbox:
        try:
            checked = seconds(sandbox.require)
        except SandboxFault as fault:
            print(f"{tier}: {fault.message}")
            return {}
        warm = warm_calls(sandbox, TRIVIAL)
        return {
            "self-test": f"{checked * 1e3:.0f} ms",
            "start of a worker, until it is ready": ms(starts(tier)),
            "a source into the spare worker": ms(promotions(sandbox)),
            "one call, 2 KB, p50 (p99)": percentiles(warm),
            "one call with a regular expression, p50 (p99)": percentiles(warm_calls(sandbox, WORDS)),
            **throughput(sandbox, 32),
            "after the deadline, until the next grader's score": ms(recoveries(sandbox)),
            "a program in a process of its own, 10 calls": ms(programs(sandbox)),
        }


def starts(tier: Tier) -> list[float]:
    def start() -> None:
        workers.append(Worker(tier, "runner", Limits()))

    workers: list[Worker] = []
    taken = [seconds(start) for _ in range(15)]
    for worker in workers:
        worker.kill()
    return taken


def promotions(sandbox: Sandbox) -> list[float]:
    """With a spare that is ready, as it is in a job; the time of starting the next one is not in it."""
    taken = []
    for number in range(15):
        time.sleep(0.3)
        taken.append(seconds(lambda number=number: sandbox.check_source("bench", f"{TRIVIAL}# {number}\n")))  # type: ignore[misc]
    return taken


def warm_calls(sandbox: Sandbox, source: str) -> list[float]:
    grader = grader_of(sandbox, source)
    sample = Sample(COMPLETION)
    for _ in range(200):
        grader.grade(ROW, sample)
    time.sleep(0.3)  # the next spare is starting
    return [seconds(lambda: grader.grade(ROW, sample)) for _ in range(3000)]


def throughput(sandbox: Sandbox, num_completions: int) -> dict[str, str]:
    """By the clock, and by the processor time of both processes together, which neighbours cannot lengthen."""
    grader = grader_of(sandbox, TRIVIAL)
    samples = [Sample(COMPLETION)] * num_completions
    grader.grade_group(ROW, samples)
    cpu_before, rounds = cpu_s(sandbox), 150
    taken = [seconds(lambda: grader.grade_group(ROW, samples)) for _ in range(rounds)]
    per_call = (cpu_s(sandbox) - cpu_before) / rounds / num_completions
    name = f"{num_completions} completions through the grader"
    speed = num_completions / statistics.median(taken)
    return {name: f"{speed:.0f} calls/s", f"{name}, processor time": f"{per_call * 1e6:.0f} us a call"}


def cpu_s(sandbox: Sandbox) -> float:
    (kept,) = sandbox._idle[-1:]
    return time.process_time() + kept.worker.usage()[2]


def recoveries(sandbox: Sandbox) -> list[float]:
    """From the moment a call's time is up until another grader has answered, on the one worker there is."""
    taken = []
    for _ in range(5):
        sandbox.check_source("bench", LOOP)
        time.sleep(0.3)
        start = time.perf_counter()
        with suppress(CodeFailure):
            sandbox.grade("bench", LOOP, b'[{"output_text": ""}, {}]')
        sandbox.grade("bench", TRIVIAL, b'[{"output_text": ""}, {}]')
        taken.append(time.perf_counter() - start - sandbox.limits.call_s)
    return taken


def programs(sandbox: Sandbox) -> list[float]:
    source = "def double(x):\n    return 2 * x\n"
    inputs = [{"call": "double", "args": values.dump([n]), "kwargs": values.dump({})} for n in range(10)]

    def run() -> None:
        found = run_program(sandbox, "bench", source, inputs, timeout_s=5, total_s=30)
        assert [one.text for one in found] == [str(2 * n) for n in range(10)]

    run()
    time.sleep(0.3)
    return [seconds(run) for _ in range(300)]


def grader_of(sandbox: Sandbox, source: str):  # type: ignore[no-untyped-def]
    return compile_grader(
        parse_grader({"type": "python", "source": source}), Services(sandbox=CodeSandbox(sandbox, "bench"))
    )


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def ms(taken: list[float]) -> str:
    return f"{spread([second * 1e3 for second in taken])} ms"


def percentiles(taken: list[float]) -> str:
    cuts = statistics.quantiles(taken, n=100)
    return f"{cuts[49] * 1e3:.3f} ({cuts[98] * 1e3:.3f}) ms"


if __name__ == "__main__":
    raise SystemExit(main())
