"""Whether training without tuning is safe: many small jobs, and what each delivered on tasks nobody has seen.

    python benchmarks/stability.py --minutes 40                        # goes on where it stopped
    python benchmarks/stability.py --families max add --seeds 2 --rates 1
    python benchmarks/stability.py --report                            # the table of what has been run

Every run is one line in `--out`; a run that is there is not done again. A line names the recipe that it is of, and runs
of different recipes are never pooled. What each figure means: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from machine import describe, footer
from stability_report import report

from fettle_graders.grade import Grade, GradeErrors
from fettle_graders.sample import Sample
from fettle_graders.spec import parse_grader
from fettle_workers import engine
from fettle_workers.adapters.checkpoints import LocalCheckpoints
from fettle_workers.adapters.graders import InProcessGraderRunner
from fettle_workers.base_models.evaluate import BUNDLED, pass_at_k
from fettle_workers.base_models.examples import EXACT, EXAMPLES, row, write_jsonl
from fettle_workers.base_models.families import FAMILIES, tasks
from fettle_workers.contract.events import Event, Finished, Message
from fettle_workers.contract.spec import DataRef, ReinforcementHyperparameters, ReinforcementMethod, TrainSpec
from fettle_workers.engine.data import RawRow, Row, load_rows
from fettle_workers.engine.errors import JobFailed
from fettle_workers.engine.evaluate import answer, scores_of
from fettle_workers.engine.model import Policy, load_policy, use_threads
from fettle_workers.engine.ports import GraderRunner
from fettle_workers.engine.processes import Processes
from fettle_workers.engine.sampler import SamplingParams, TorchSampler
from fettle_workers.engine.start import start_reinforcement
from fettle_workers.engine.train import train

# name -> (training rows, epochs)
SETTINGS = {"8 rows x 300": (8, 300), "128 rows x 30": (128, 30)}
RATES = (0.25, 1.0, 4.0)
REWARDS = ("true", "random")
CONTROL_RATE = 1.0
HELD_OUT_ROWS, SEALED_ROWS, SEALED_SAMPLES = 60, 200, 8
ENGINE = Path(engine.__file__).parent
DEFAULT_OUT = Path(__file__).parent / "results" / "stability.jsonl"


def main() -> None:
    options = parsed()
    if not options.report:
        machine = describe()
        run_all(options)
        print(footer(machine))
    records = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    print(report(records, planned=len(list(planned(list(FAMILIES), 10, RATES)))))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--seeds", type=int, default=10, help="how many, counted from 0")
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES), help="multipliers on the automatic rate")
    parser.add_argument("--rewards", nargs="+", default=list(REWARDS), choices=REWARDS, help="random: the control")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after these")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    parser.add_argument("--report", action="store_true", help="run nothing")
    return parser.parse_args()


def planned(families: Sequence[str], num_seeds: int, rates: Sequence[float]) -> Iterator[dict[str, Any]]:
    """Every run, seed by seed and shuffled within a seed: a run broken off early has covered a bit of everything."""
    for seed in range(num_seeds):
        runs = [
            {"family": family, "seed": seed, "rate": rate, "setting": setting, "reward": reward}
            for family, setting, rate in itertools.product(families, SETTINGS, rates)
            for reward in (REWARDS if rate == CONTROL_RATE else REWARDS[:1])
        ]
        random.Random(seed).shuffle(runs)
        yield from runs


def run_all(options: argparse.Namespace) -> None:
    use_threads(1)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    done = options.out.read_text().splitlines() if options.out.exists() else []
    keys, of_recipe = {_key(json.loads(line)) for line in done}, recipe()
    start = time.monotonic()
    for run in planned(options.families, options.seeds, options.rates):
        wanted = run | {"recipe": of_recipe}
        if _key(wanted) in keys or wanted["reward"] not in options.rewards:
            continue
        if time.monotonic() - start > 60 * options.minutes:
            break
        with tempfile.TemporaryDirectory(prefix="fettle-stability-") as folder:
            record = wanted | one_run(Path(folder), **run)
        with options.out.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(json.dumps(record), flush=True)


def _key(record: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(record.get(name) for name in ("family", "seed", "rate", "setting", "reward", "recipe"))


def recipe() -> str:
    """What decides how a job trains, in twelve hex digits: the engine's source."""
    files = sorted(ENGINE.rglob("*.py"))
    source = b"".join(path.relative_to(ENGINE).as_posix().encode() + b"\0" + path.read_bytes() for path in files)
    return hashlib.sha256(source).hexdigest()[:12]


class Kept:
    """An event sink that keeps what the rules of health said."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}

    def emit(self, event: Event) -> None:
        if isinstance(event, Message) and event.code:
            self.codes[event.code] = self.codes.get(event.code, 0) + 1


class NoWish:
    def poll(self) -> None:
        return None


class RandomGrader:
    """The control: a coin for every completion, whatever it says.

    The coin hangs on the row, the completion and how often the two were seen, so it is the same in whatever order the
    completions of a step are finished.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._seen = Counter[str]()

    needs_group = False

    def submit(self, item: dict[str, Any], samples: Sequence[Sample]) -> Callable[[], list[Grade]]:
        grades = [Grade(float(self._coin(item, sample)), GradeErrors()) for sample in samples]
        return lambda: grades

    def _coin(self, item: dict[str, Any], sample: Sample) -> bool:
        key = json.dumps([item, sample.output_reasoning, sample.output_text])
        self._seen[key] += 1
        return random.Random(f"control/{self._seed}/{self._seen[key]}/{key}").random() < 0.5


def one_run(work: Path, *, family: str, seed: int, rate: float, setting: str, reward: str) -> dict[str, Any]:
    """Train one job with every other field on auto, and measure base, delivered and last policy on the sealed rows."""
    num_rows, n_epochs = SETTINGS[setting]
    kept_out = list(itertools.islice(tasks(family, f"stability/{seed}", held_out=True), HELD_OUT_ROWS + SEALED_ROWS))
    # Families of few different prompts give what they have: a third to the job, two thirds sealed.
    num_held_out = min(HELD_OUT_ROWS, len(kept_out) // 3)
    shown = itertools.islice(tasks(family, f"stability/{seed}", held_out=False), num_rows)
    own = next((grader for name, grader in EXAMPLES.values() if name == family), EXACT)
    # Of a grader with parts the engine balances the parts' scores, and a coin has none: it would train nothing.
    grader = EXACT if reward == "random" else own
    spec = TrainSpec(
        job_id="stability",
        base_model="fettle-tiny",
        method=ReinforcementMethod(
            grader=parse_grader(grader),
            hyperparameters=ReinforcementHyperparameters(n_epochs=n_epochs, learning_rate_multiplier=rate),
        ),
        seed=seed,
        training_file=_written(work, [row(task) for task in shown]),
        validation_file=_written(work, [row(task) for task in kept_out[:num_held_out]]),
    )
    policy = load_policy(BUNDLED, base_model_id="fettle-tiny", seed=seed)
    events, checkpoints = Kept(), LocalCheckpoints(work, keep_states=1)
    began = time.perf_counter()
    with InProcessGraderRunner(spec.method.grader) as graders:
        job, source = start_reinforcement(
            spec,
            load_rows(spec, work / "inputs"),
            policy=policy,
            sampler=TorchSampler(policy),
            graders=RandomGrader(seed) if reward == "random" else graders,
            checkpoints=checkpoints,
            events=events,
            control=NoWish(),
            resume_from=None,
        )
        base = policy.adapter_tensors()
        outcome: dict[str, Any] = {}
        try:
            finished = train(job, source)
        except JobFailed as failed:
            outcome = {"failed": failed.code}
        else:
            assert isinstance(finished, Finished)
            selection = finished.selection
            outcome = {
                "verdict": selection.verdict,
                "chosen_step": selection.chosen_step,
                "claimed": [selection.gain, selection.gain_low, selection.gain_high],
                "ended": finished.reason,
            }
        train_s, chosen = time.perf_counter() - began, policy.adapter_tensors()
        sealed = Sealed(policy, [row(task) for task in kept_out[num_held_out:]], graders, source.params)
        before = sealed.scores(base)
        delivered = sealed.scores(chosen) if outcome.get("chosen_step") else before
        last = job.progress.table[-1]
        job.load(last)
        after = sealed.scores(policy.adapter_tensors())
    return outcome | {
        "steps": job.progress.step,
        "planned_steps": job.plan.total_steps,
        "plan": asdict(job.plan),
        "train_s": round(train_s, 1),
        "sealed_rows": len(before),
        "base": _pass_at(before, 1),
        "base_at_8": _pass_at(before, SEALED_SAMPLES),
        "delivered": _pass_at(delivered, 1),
        "gain": _paired(delivered, before),
        "last_step": last.step,
        "last_gain": _paired(after, before),
        "events": events.codes,
    }


class Sealed:
    """Rows that no job sees, answered by different adapters with the same random numbers and the true grader."""

    def __init__(
        self, policy: Policy, items: list[dict[str, Any]], graders: GraderRunner, params: SamplingParams
    ) -> None:
        raw = [RawRow("validation_file", index, item) for index, item in enumerate(items)]
        self._rows = [Row(r.source, r.index, r.item, tuple(policy.chat.render(r.item["messages"]))) for r in raw]
        self._policy, self._graders, self._params = policy, graders, params

    def scores(self, adapter: dict[str, torch.Tensor]) -> list[list[float]]:
        """[row][sample]: 1 for a completely right answer, else 0, so that pass@8 means something for every grader."""
        self._policy.set_adapter_tensors(adapter)
        groups = answer(
            self._rows,
            range(SEALED_SAMPLES),
            purpose="report",
            step=0,
            epoch=0.0,
            seed=20_260,
            policy=self._policy,
            sampler=TorchSampler(self._policy),
            graders=self._graders,
            params=self._params,
            processes=Processes(),
        )
        return [[float(score is not None and score > 0.999) for score in row] for row in scores_of(groups)]


def _written(work: Path, rows: list[dict[str, Any]]) -> DataRef:
    (work / "inputs").mkdir(parents=True, exist_ok=True)
    draft = work / "inputs" / "draft"
    write_jsonl(draft, rows)
    content = draft.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    draft.rename(work / "inputs" / digest)
    return DataRef(file_id="file", key=digest, sha256=digest, size_bytes=len(content))


def _pass_at(scores: list[list[float]], k: int) -> float:
    return sum(pass_at_k(len(row), int(sum(row)), k) for row in scores) / len(scores)


def _paired(scores: list[list[float]], base: list[list[float]]) -> list[float]:
    """Mean difference of the rows' means, and its standard error."""
    differences = torch.tensor([sum(a) - sum(b) for a, b in zip(scores, base, strict=True)]) / SEALED_SAMPLES
    return [float(differences.mean()), float(differences.std() / len(differences) ** 0.5)]


if __name__ == "__main__":
    main()
