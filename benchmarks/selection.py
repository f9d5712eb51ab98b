"""Whether the bounds of a verdict hold: jobs with a known truth, evaluated, chosen and measured as the engine does it.

    python benchmarks/selection.py                       # every case
    python benchmarks/selection.py --trials 200 --shapes even rare --rows 8 20

Only the rewards are made up: of rows whose chances are known. What each figure means: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from machine import describe, footer, table
from numpy.random import Generator
from selection_shapes import SHAPES, WANDERING, Chances

from fettle_workers.engine import select
from fettle_workers.engine.finish import FIRST_ROUND_SAMPLES, FIRST_ROUND_SHARE, NUM_FINALISTS
from fettle_workers.engine.plan import final_samples, finalist_samples
from fettle_workers.engine.select import (
    Gain,
    Items,
    Scored,
    corrected_gain,
    finalists,
    judge,
    measure_gain,
    report_split,
)

POPULATION, SMALL_POPULATION = 200_000, 5_000
NO_BUDGET = float("inf")
ALIKE = 3.0  # a + b of the beta distribution that answers to one prompt share
NOISE = 0.15  # of one continuous reward
SHARES = ("bound holds", "both hold", "delivered")


@dataclass(frozen=True)
class Case:
    """`evaluations` after step 0. `rewards`: `yes or no`; `single`, one answer in each evaluation; `alike`, where the
    answers of a policy to one prompt resemble each other; `continuous`."""

    shape: str
    rows: int
    evaluations: int = 11
    rewards: str = "yes or no"


@dataclass(frozen=True)
class Trial:
    """`gains` are the true ones of all checkpoints, over all rows there are. `maximum` had the highest mean before the
    finalists got more answers."""

    gain: Gain
    gains: Sequence[float]
    chosen: int
    maximum: int

    @property
    def is_delivered(self) -> bool:
        return self.chosen != 0 and self.gain.lower_bound > 0

    @property
    def truth(self) -> float:
        return self.gains[self.chosen]

    def regret(self, step: int) -> float:
        return max(self.gains) - self.gains[step]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=800)
    parser.add_argument("--rows", type=int, nargs="+", help="held-out rows")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES))
    options = parser.parse_args()
    machine = describe()
    select.NUM_RESAMPLES = 200  # the mean over resamples is steady long before the 2000 of a job
    lines = []
    for case in cases():
        if case.rows in (options.rows or [case.rows]) and case.shape in (options.shapes or SHAPES):
            lines.append(cells(case, list(simulated(case, trials=options.trials))))
            print("  ".join(lines[-1]), flush=True)
    header = ["shape", "rewards", "rows", "evaluated", "measured on", *SHARES[:2], "width", SHARES[2]]
    header += ["regret", "before the gate", "of max."]
    print(f"\n{table(header, lines)}\n\n{options.trials} jobs each. {footer(machine)}")


def cases() -> Iterator[Case]:
    """Every shape with more and more rows; then few and many evaluations; then other rewards."""
    for shape, rows in itertools.product(SHAPES, (8, 20, 40, 100, 200)):
        yield Case(shape, rows)
    for shape, rows, evaluations in itertools.product(("even", "rare", "nothing"), (20, 60), (1, 4, 29)):
        yield Case(shape, rows, evaluations)
    for shape, rows, rewards in itertools.product(
        ("even", "solved", "rare"), (20, 60), ("single", "alike", "continuous")
    ):
        yield Case(shape, rows, rewards=rewards)


def simulated(case: Case, *, trials: int) -> Iterator[Trial]:
    """Jobs of one training, each on other rows; or, where every job is another training, on the first of its rows."""
    rng, shape = np.random.default_rng(case.rows), SHAPES[case.shape]
    if case.shape in WANDERING:
        for seed in range(trials):
            chances = shape(rng, SMALL_POPULATION, case.evaluations)
            yield one_job(rng, [chance[: case.rows] for chance in chances], true_gains(chances), case, seed=seed)
        return
    gains = true_gains(shape(rng, POPULATION, case.evaluations))
    for seed in range(trials):
        yield one_job(rng, shape(rng, case.rows, case.evaluations), gains, case, seed=seed)


def true_gains(chances: Chances) -> list[float]:
    return [float((chance - chances[0]).mean()) for chance in chances]


def answers_per_row(num_items: int, rewards: str) -> int:
    return 1 if rewards == "single" else min(16, max(1, round(200 / num_items)))


class Answers:
    """Sums of the rewards of so many answers to each row, drawn as they are asked for."""

    def __init__(self, rng: Generator, chances: Chances, rewards: str) -> None:
        self.rng, self.rewards, self.chances = rng, rewards, chances
        if rewards == "alike":
            self.chances = [rng.beta(ALIKE * chance + 1e-3, ALIKE * (1 - chance) + 1e-3) for chance in chances]

    def sums(self, step: int, samples: int, rows: list[int]) -> Items:
        chance = self.chances[step][rows]
        if self.rewards == "continuous":
            return samples * chance + self.rng.normal(0, NOISE * samples**0.5, len(rows))
        return self.rng.binomial(samples, chance).astype(np.float64)


def one_job(rng: Generator, chances: Chances, gains: Sequence[float], case: Case, *, seed: int) -> Trial:
    """Evaluate the candidates on the rows that select, halve them, choose, and measure on the rows that report."""
    answers = Answers(rng, chances, case.rewards)
    chosen_on, measured_on = report_split(case.rows)
    samples = answers_per_row(len(chosen_on), case.rewards)
    evaluated = [
        Scored(step, answers.sums(step, samples, chosen_on) / samples, 0.05 * step) for step in range(len(chances))
    ]
    candidates = halved(evaluated, answers, samples, chosen_on)
    chosen, _ = judge(candidates, kl_budget_nats=NO_BUDGET)
    if chosen_on == measured_on:
        left = [one for one in evaluated if one.step not in {finalist.step for finalist in candidates}]
        gain = corrected_gain(candidates, kl_budget_nats=NO_BUDGET, seed=seed, others=left)
    else:
        fresh = final_samples(samples, num_items=len(measured_on))
        before, after = (answers.sums(step, fresh, measured_on) / fresh for step in (0, chosen))
        gain = measure_gain(after if chosen else before, before)
    return Trial(gain, gains, chosen, max(evaluated, key=lambda one: one.scores.mean()).step)


def halved(evaluated: list[Scored], answers: Answers, samples: int, rows: list[int]) -> list[Scored]:
    """As in `finish.py`, with made up answers."""
    candidates = evaluated
    first = max(NUM_FINALISTS, -(-len(candidates) // FIRST_ROUND_SHARE))
    last = (NUM_FINALISTS, finalist_samples(samples, num_items=len(rows)))
    for num, wanted in ((first, FIRST_ROUND_SAMPLES), last):
        steps = finalists(candidates, kl_budget_nats=NO_BUDGET, num=num)
        more = max(0, wanted - samples)
        candidates = [
            replace(one, scores=(samples * one.scores + answers.sums(one.step, more, rows)) / (samples + more))
            for one in candidates
            if one.step in steps
        ]
        samples += more
    return candidates


def cells(case: Case, trials: Sequence[Trial]) -> list[str]:
    chosen_on, measured_on = report_split(case.rows)
    slack = 1e-12
    figures = [
        [one.gain.lower_bound <= one.truth + slack for one in trials],
        [one.gain.low <= one.truth + slack and one.truth <= one.gain.high + slack for one in trials],
        [one.gain.high - one.gain.low for one in trials],
        [one.is_delivered for one in trials],
        [one.regret(one.chosen if one.is_delivered else 0) for one in trials],
        [one.regret(one.chosen) for one in trials],
        [one.regret(one.maximum) for one in trials],
    ]
    return [
        case.shape,
        case.rewards,
        str(case.rows),
        str(case.evaluations + 1),
        "the same rows" if chosen_on == measured_on else f"{len(measured_on)} others",
        *(f"{np.mean(values):.3f}" for values in figures),
    ]


if __name__ == "__main__":
    main()
