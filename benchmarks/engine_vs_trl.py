"""Fettle's engine beside TRL's GRPOTrainer: same model, task, batch and machine, one after the other, in one run.

    python benchmarks/engine_vs_trl.py                       # makes TRL's environment on first use (1.5 GB, cached)
    python benchmarks/engine_vs_trl.py --trl-python PATH     # uses the Python of an environment that has TRL
    python benchmarks/engine_vs_trl.py --task varied         # completions of very different length; speed only
    python benchmarks/engine_vs_trl.py --runs FILE           # keeps each finished run in FILE, and goes on from there

Prints tokens per second, peak memory and, where there is something to learn, seconds to 80 % and 90 % held-out
reward; after each repeat the table so far. What each figure means: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from machine import cache_dir, describe, exit_on_sigterm, footer, spread, table
from training_tasks import Task, make_task

from fettle_workers.contract.catalogue import BUNDLED
from fettle_workers.contract.events import EVENT, CheckpointCommitted, Failed, Finished, Started, StepDone, Stopped
from fettle_workers.contract.spec import DataRef, ReinforcementHyperparameters, ReinforcementMethod, TrainSpec

HERE = Path(__file__).resolve().parent
TORCH = "torch==2.13.0"
THRESHOLDS = (0.8, 0.9)
EVAL_EVERY = 5
EVAL_SAMPLES = 4
LORA_RANK, LORA_ALPHA = 16, 32
PROMPTS_PER_STEP, GROUP_SIZE = 8, 16
# What Fettle's `auto` gives this model; both sides take it after the same warm-up.
LEARNING_RATE, WARMUP_STEPS = 4e-5 * 3584 / 128, 10
RUN_LIMIT_S = 1800


@dataclass(frozen=True)
class Side:
    """One contestant. `dtype` is what its matrix products compute in, `weights_dtype` what the base is stored in."""

    name: str
    program: str
    dtype: str
    weights_dtype: str = "float32"


SIDES = (
    Side("Fettle fp32", "fettle", "float32"),
    Side("TRL fp32", "trl", "float32"),
    Side("TRL bf16", "trl", "bfloat16"),
)


@dataclass
class Run:
    """What one training run told. Totals by step; seconds of training only."""

    side: Side
    seed: int
    startup_s: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    cpu_s: dict[int, float] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)
    completions: dict[int, int] = field(default_factory=dict)
    adapters: dict[int, str] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    peak_bytes: int = 0

    def watch(self, pid: int) -> None:
        """Read the process's peak of resident memory so far."""
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        self.peak_bytes = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

    def reached(self, threshold: float) -> int | None:
        """The first measured step at or above the threshold."""
        return min((step for step, mean in self.scores.items() if step and mean >= threshold), default=None)

    @property
    def last(self) -> int:
        return max(self.seconds)


class Kept:
    """Finished runs of the same settings in a file, so that a comparison can be made in pieces."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._file: Path | None = options.runs
        self._settings = {name: getattr(options, name) for name in ("task", "steps", "threads", "scale_rewards")}

    def find(self, side: Side, seed: int) -> Run | None:
        lines = self._file.read_text().splitlines() if self._file and self._file.exists() else []
        for line in lines:
            told = json.loads(line)
            if told.pop("settings") == self._settings and told["side"] == asdict(side) and told["seed"] == seed:
                by_step = told.keys() & {"seconds", "cpu_s", "tokens", "completions", "adapters", "scores"}
                told |= {name: {int(step): value for step, value in told[name].items()} for name in by_step}
                return Run(**told | {"side": side})
        return None

    def add(self, run: Run) -> None:
        if self._file:
            with self._file.open("a") as file:
                file.write(json.dumps(asdict(run) | {"settings": self._settings}) + "\n")


def main() -> int:
    exit_on_sigterm()
    options = parse_arguments()
    machine = describe()
    python = options.trl_python or trl_python()
    kept = Kept(options)
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as folder:
        task = make_task(options.task, Path(folder))
        for seed in range(1, options.repeats + 1):
            for side in SIDES:
                if (run := kept.find(side, seed)) is not None:
                    runs.append(run)
                    continue
                run = train(task, side, seed, Path(folder) / f"{side.name}-{seed}".replace(" ", "-"), options, python)
                if task.is_learned:
                    measure(task, run, options.threads)
                runs.append(run)
                kept.add(run)
                show_curve(run)
            print(report(task, runs, options, machine), flush=True)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", default="demo", choices=["demo", "varied"], help="short answers, or very varied ones")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side, each with its own seed")
    parser.add_argument("--steps", type=int, default=60, help="optimizer steps of each run")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of both sides")
    parser.add_argument("--runs", type=Path, help="file of finished runs, one a line; those in it are not done again")
    parser.add_argument("--trl-python", type=Path, help="Python of an environment with trl-requirements.txt")
    parser.add_argument("--scale-rewards", default="batch", choices=["batch", "group", "none"], help="TRL's setting")
    return parser.parse_args()


def trl_python() -> Path:
    """Python of TRL's environment in the user's cache folder, made on first use."""
    requirements = HERE / "trl-requirements.txt"
    pins = hashlib.sha256((TORCH + requirements.read_text()).encode()).hexdigest()[:12]
    folder = cache_dir() / f"trl-{pins}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        print(f"making an environment with TRL in {folder}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, TORCH], check=True)
        subprocess.run([*pip, "-r", requirements], check=True)
        (folder / "complete").touch()
    return python


def train(task: Task, side: Side, seed: int, folder: Path, options: argparse.Namespace, python: Path) -> Run:
    folder.mkdir()
    run = Run(side, seed)
    if side.program == "trl":
        train_trl(task, run, folder, options, python)
    else:
        train_fettle(task, run, folder, options)
    if run.last < options.steps:
        sys.exit(f"{side.name} ended after step {run.last} of {options.steps}; its log is above")
    return run


def train_trl(task: Task, run: Run, folder: Path, options: argparse.Namespace, python: Path) -> None:
    settings = {
        "model": str(task.model),
        "training_file": str(task.rows / "train.jsonl"),
        "holds": task.holds,
        "work_dir": str(folder),
        "seed": run.seed,
        "threads": options.threads,
        "steps": options.steps,
        "eval_every": EVAL_EVERY,
        "dtype": run.side.dtype,
        "weights_dtype": run.side.weights_dtype,
        "prompts_per_step": PROMPTS_PER_STEP,
        "group_size": GROUP_SIZE,
        "max_completion_tokens": task.max_completion_tokens,
        "lora_rank": LORA_RANK,
        "lora_alpha": LORA_ALPHA,
        "learning_rate": LEARNING_RATE,
        "warmup_steps": WARMUP_STEPS,
        "scale_rewards": options.scale_rewards,
    }
    with child([python, HERE / "trl_side.py"], json.dumps(settings), folder, options.threads) as process:
        for line in lines_of(process):
            told = json.loads(line)
            run.watch(process.pid)
            match told["type"]:
                case "ready":
                    run.startup_s, run.versions = told["startup_s"], told["versions"]
                case "step":
                    for name in ("seconds", "cpu_s", "tokens", "completions"):
                        getattr(run, name)[told["step"]] = told[name]
                case "saved":
                    run.adapters[told["step"]] = told["folder"]


def train_fettle(task: Task, run: Run, folder: Path, options: argparse.Namespace) -> None:
    """The trainer as the platform runs it, stopped after enough steps. Its own evaluations are taken off its time;
    writing its checkpoints is not."""
    run.versions = {name: version(name) for name in ("fettle-server", "torch", "transformers", "peft")}
    command = [sys.executable, "-m", "fettle_workers.main", "--dir", folder, "--threads", str(options.threads)]
    started = before_s = time.perf_counter()
    before_cpu_s = zero_s = zero_cpu_s = 0.0
    tokens = completions = 0
    catalogue = folder.with_suffix(".toml")
    catalogue.write_text(f'[models."{BUNDLED}"]\nsource = {json.dumps(str(task.model))}\n')
    command += ["--models-file", str(catalogue)]
    with child(command, fettle_spec(task, run.seed).model_dump_json(), folder, options.threads) as process:
        for line in lines_of(process):
            run.watch(process.pid)
            now_s, now_cpu_s = time.perf_counter(), cpu_seconds(process.pid)
            event = EVENT.validate_json(line)
            match event:
                case Started():
                    check_plan(task, event.plan)
                case CheckpointCommitted(step=0):
                    run.startup_s, zero_s, zero_cpu_s = now_s - started, now_s, now_cpu_s
                case StepDone(metrics=metrics) if metrics.step <= options.steps:
                    # The trainer tells an evaluation's seconds, not its CPU seconds: take their share of this interval.
                    share = min(1.0, metrics.timing.eval_s / (now_s - before_s))
                    zero_s += metrics.timing.eval_s
                    zero_cpu_s += share * (now_cpu_s - before_cpu_s)
                    tokens += round(metrics.completion_tokens_mean * metrics.num_completions)
                    completions += metrics.num_completions
                    run.seconds[metrics.step], run.cpu_s[metrics.step] = now_s - zero_s, now_cpu_s - zero_cpu_s
                    run.tokens[metrics.step], run.completions[metrics.step] = tokens, completions
                case CheckpointCommitted(step=step, directory=directory) if step <= options.steps:
                    run.adapters[step] = str(folder / directory / "adapter")
                    if step == options.steps:
                        process.send_signal(signal.SIGTERM)
                case Failed() | Stopped() | Finished():
                    print(f"trainer: {event.model_dump_json(exclude={'selection'})}", file=sys.stderr)
            before_s, before_cpu_s = now_s, now_cpu_s


def fettle_spec(task: Task, seed: int) -> TrainSpec:
    """The demo job with the batch and the evaluation interval of this benchmark; everything else is `auto`."""
    hyperparameters = ReinforcementHyperparameters(
        batch_size=PROMPTS_PER_STEP,
        group_size=GROUP_SIZE,
        max_completion_tokens=task.max_completion_tokens,
        lora_rank=LORA_RANK,
        eval_interval=EVAL_EVERY,
        early_stopping=False,
    )
    return TrainSpec(
        job_id=f"benchmark-{seed}",
        base_model=BUNDLED,
        method=ReinforcementMethod(grader=task.grader, hyperparameters=hyperparameters),
        seed=seed,
        training_file=data_ref(task.rows / "train.jsonl"),
        validation_file=data_ref(task.rows / "validation.jsonl"),
    )


def data_ref(path: Path) -> DataRef:
    data = path.read_bytes()
    return DataRef(file_id=path.stem, key=str(path), sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


def check_plan(task: Task, plan: dict[str, Any]) -> None:
    """What is said to be equal on both sides is equal.

    Raises:
        SystemExit: Fettle resolved something else than what TRL is given.
    """
    expected = {
        "batch_size": PROMPTS_PER_STEP,
        "prompt_copies": 1,
        "group_size": GROUP_SIZE,
        "max_completion_tokens": task.max_completion_tokens,
        "lora_rank": LORA_RANK,
        "lora_alpha": LORA_ALPHA,
        "learning_rate": LEARNING_RATE,
        "warmup_steps": WARMUP_STEPS,
        "temperature": 1.0,
    }
    different = {name: (plan[name], value) for name, value in expected.items() if plan[name] != value}
    if different:
        sys.exit(f"not the same job on both sides (Fettle's, TRL's): {different}")


def measure(task: Task, run: Run, threads: int) -> None:
    """Held-out reward of the saved adapters, by the same code for both sides and in the type it was trained in."""
    asked = {
        "model": str(task.model),
        "validation_file": str(task.rows / "validation.jsonl"),
        "grader_file": str(task.rows / "grader.json"),
        "samples": EVAL_SAMPLES,
        "max_completion_tokens": task.max_completion_tokens,
        "lora_rank": LORA_RANK,
        "lora_alpha": LORA_ALPHA,
        "threads": threads,
        "threshold": max(THRESHOLDS),
        "dtype": run.side.weights_dtype,
        "steps": run.adapters,
    }
    done = subprocess.run(
        [sys.executable, HERE / "held_out.py"],
        input=json.dumps(asked),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=RUN_LIMIT_S,
        env=environment(threads),
    )
    run.scores = {int(step): mean for step, mean in json.loads(done.stdout).items()}


@contextlib.contextmanager
def child(command: list[Any], text: str, folder: Path, threads: int) -> Iterator[subprocess.Popen[str]]:
    """A process that reads `text` and writes lines; its log is shown when it fails. Ended by its pid in any case."""
    log = folder.with_suffix(".log")
    with log.open("w") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(threads),
        )
    watchdog = threading.Timer(RUN_LIMIT_S, process.kill)
    watchdog.start()
    try:
        assert process.stdin is not None
        process.stdin.write(text + "\n")
        process.stdin.close()
        yield process
        if process.wait():
            sys.exit(f"{command[1]} ended with status {process.returncode}:\n{log.read_text()[-3000:]}")
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    return iter(process.stdout)


def environment(threads: int) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, to a hundredth of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def show_curve(run: Run) -> None:
    """JSON lines of one run: where it stood at each measured step, and at the end."""
    end = {"side": run.side.name, "seed": run.seed, "seconds": round(run.seconds[run.last], 2)}
    end |= {"tokens": run.tokens[run.last], "completions": run.completions[run.last]}
    print(json.dumps(end | {"peak_mib": run.peak_bytes >> 20}), flush=True)
    for step, mean in sorted(run.scores.items()):
        line = {"side": run.side.name, "seed": run.seed, "step": step, "held_out": round(mean, 4)}
        if step:
            line |= {"seconds": round(run.seconds[step], 2), "cpu_s": round(run.cpu_s[step], 2)}
            line |= {"tokens": run.tokens[step], "completions": run.completions[step]}
        print(json.dumps(line), flush=True)


def report(task: Task, runs: list[Run], options: argparse.Namespace, machine: str) -> str:
    header = ["", "tokens/s", "tokens/CPU s", "s a step", "peak MiB", "start, s"]
    if task.is_learned:
        header += [f"{what} to {share:.0%}" for share in THRESHOLDS for what in ("s", "CPU s", "steps")]
        header += ["held-out, base -> last"]
    rows = [row(task, side, [run for run in runs if run.side == side]) for side in SIDES]
    versions = {f"{name} {number}" for run in runs for name, number in run.versions.items()}
    return "\n".join(
        [
            "",
            table(header, rows),
            "",
            f"Medians of {len(runs) // len(SIDES)} runs (lowest-highest), {options.threads} thread(s) each.",
            footer(machine),
            f"{task.name} task, {BUNDLED} (weights {digest(task.model)}); {PROMPTS_PER_STEP} prompts x {GROUP_SIZE} "
            f"completions of at most {task.max_completion_tokens} tokens, LoRA rank {LORA_RANK} alpha {LORA_ALPHA} on "
            f"every linear layer, learning rate {LEARNING_RATE:.3g} after {WARMUP_STEPS} steps of warm-up, temperature "
            f"1, {options.steps} steps; measured every {EVAL_EVERY} steps, 100 held-out rows x {EVAL_SAMPLES} answers.",
            f"TRL: loss dapo, clip 0.2/0.28, scale_rewards {options.scale_rewards}, beta 0, no gradient checkpointing; "
            "bf16 is autocast over fp32 weights.",
            ", ".join(sorted(versions)),
        ]
    )


def digest(model: Path) -> str:
    return hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()[:12]


def row(task: Task, side: Side, runs: list[Run]) -> list[str]:
    cells = [
        side.name,
        spread([run.tokens[run.last] / run.seconds[run.last] for run in runs], 0),
        spread([run.tokens[run.last] / run.cpu_s[run.last] for run in runs], 0),
        spread([run.seconds[run.last] / run.last for run in runs], 2),
        spread([run.peak_bytes / 2**20 for run in runs], 0),
        spread([run.startup_s for run in runs]),
    ]
    if task.is_learned:
        cells += [cell for threshold in THRESHOLDS for cell in until(threshold, runs)]
        first, last = ([run.scores[step(run)] for run in runs] for step in (lambda _: 0, lambda r: max(r.adapters)))
        cells.append(f"{spread(first, 2)} -> {spread(last, 2)}")
    return cells


def until(threshold: float, runs: list[Run]) -> list[str]:
    """Seconds, processor seconds and steps to a held-out reward, of the runs that reached it."""
    at = [(run, step) for run in runs if (step := run.reached(threshold)) is not None]
    if not at:
        return ["never"] * 3
    missed = f" [{len(runs) - len(at)} of {len(runs)} never]" if len(at) < len(runs) else ""
    return [
        spread([run.seconds[step] for run, step in at]) + missed,
        spread([run.cpu_s[step] for run, step in at]),
        spread([float(step) for _, step in at], 0),
    ]


if __name__ == "__main__":
    sys.exit(main())
