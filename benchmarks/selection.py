"""Whether the bounds of a verdict hold: jobs with a known truth, evaluated, chosen and measured as the engine does it.

    python benchmarks/selection.py                       # every shape, every number of rows
    python benchmarks/selection.py --trials 200 --rows 8 20

Only the answers are made up: yes-or-no rewards of rows whose chances are known. What each figure means:
benchmarks/README.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from machine import describe, footer, table
from numpy.random import Generator
from numpy.typing import NDArray

from fettle_workers.engine import select
from fettle_workers.engine.finish import FIRST_ROUND_SAMPLES, FIRST_ROUND_SHARE, NUM_FINALISTS
from fettle_workers.engine.plan import final_samples, finalist_samples
from fettle_workers.engine.select import Gain, Scored, corrected_gain, finalists, judge, measure_gain, report_split

Chances = list[NDArray[np.float64]]  # of each candidate, one for each row; the first is step 0

NUM_EVALUATIONS = 12
POPULATION = 400_000
ROWS = (5, 8, 12, 20, 29, 40, 60, 100, 200)
NO_BUDGET = float("inf")


@dataclass(frozen=True)
class Trial:
    """`truth` is the chosen candidate's gain over all rows there are; `regret`, what the delivered one lacks to the
    best there was; `regret_of_maximum`, the same of the highest mean."""

    gain: Gain
    truth: float
    is_delivered: bool
    regret: float
    regret_of_maximum: float


def rising(number: int, height: float) -> float:
    return height * min(1.0, number / 4)


def even(rng: Generator, num_rows: int, *, height: float = 0.1, spread: float = 0.1) -> Chances:
    """All rows gain about the same. Half of what sets a row apart stays with it from candidate to candidate."""
    base, own = rng.uniform(0.1, 0.6, num_rows), rng.normal(0, spread / 2**0.5, num_rows)
    later = [
        base + rising(number, height) + own + rng.normal(0, spread / 2**0.5, num_rows)
        for number in range(1, NUM_EVALUATIONS)
    ]
    return [base, *(np.clip(chances, 0, 1) for chances in later)]


def uneven(rng: Generator, num_rows: int) -> Chances:
    """Some gain much, many lose."""
    return even(rng, num_rows, spread=0.25)


def solved(rng: Generator, num_rows: int) -> Chances:
    """Most rows come to be solved, a tenth is unlearned: the differences lean to the left."""
    base, turn = rng.beta(1.5, 2.5, num_rows), rng.random(num_rows)
    return [base] + [
        np.where(turn < 0.8 * rising(number, 1.0), 0.95, np.where(turn > 0.9, 0.2 * base, base))
        for number in range(1, NUM_EVALUATIONS)
    ]


def rare(rng: Generator, num_rows: int) -> Chances:
    """One row in ten comes to be solved: the differences lean to the right."""
    base, turn = rng.beta(0.5, 4, num_rows), rng.random(num_rows)
    return [base] + [np.where(turn < rising(number, 0.1), 0.9, base) for number in range(1, NUM_EVALUATIONS)]


def nothing(rng: Generator, num_rows: int) -> Chances:
    """Training moves rows up and down, and gains nothing."""
    return even(rng, num_rows, height=0.0)


def spoilt(rng: Generator, num_rows: int) -> Chances:
    """A gain that is lost again with further training."""
    base, own = rng.uniform(0.1, 0.6, num_rows), rng.normal(0, 0.1, num_rows)
    later = [
        base + rising(number, 0.25) - 0.03 * max(0, number - 4) + own + rng.normal(0, 0.1, num_rows)
        for number in range(1, NUM_EVALUATIONS)
    ]
    return [base, *(np.clip(chances, 0, 1) for chances in later)]


SHAPES = {shape.__name__: shape for shape in (even, uneven, solved, rare, nothing, spoilt)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS), help="held-out rows")
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    options = parser.parse_args()
    machine = describe()
    select.NUM_RESAMPLES = 400  # the mean over resamples is steady long before the 2000 of a job
    lines = []
    for name in options.shapes:
        truths = true_gains(name)
        for num_rows in options.rows:
            trials = list(simulated(name, truths, num_rows=num_rows, trials=options.trials))
            lines.append(cells(name, num_rows, trials))
            print("  ".join(lines[-1]), flush=True)
    header = ["shape", "rows", "answers", "measured on", "bound holds", "both hold", "delivered", "regret", "of max."]
    print(f"\n{table(header, lines)}\n\n{options.trials} jobs each. {footer(machine)}")


def true_gains(name: str) -> list[float]:
    base, *later = SHAPES[name](np.random.default_rng(0), POPULATION)
    return [0.0] + [float((chances - base).mean()) for chances in later]


def simulated(name: str, truths: Sequence[float], *, num_rows: int, trials: int) -> Iterator[Trial]:
    rng = np.random.default_rng(num_rows)
    for seed in range(trials):
        yield one_job(rng, SHAPES[name](rng, num_rows), truths, seed=seed)


def answers_per_row(num_items: int) -> int:
    return min(16, max(1, round(200 / num_items)))


def one_job(rng: Generator, chances: Chances, truths: Sequence[float], *, seed: int) -> Trial:
    """Evaluate the candidates on the rows that select, halve them, choose, and measure on the rows that report."""
    chosen_on, measured_on = report_split(len(chances[0]), num_train=1000)
    samples = answers_per_row(len(chosen_on))
    counts = [rng.binomial(samples, chance[chosen_on]) for chance in chances]
    candidates = [Scored(step, count / samples, 0.05 * step) for step, count in enumerate(counts)]
    evaluated = list(candidates)
    maximum = max(candidates, key=lambda one: one.scores.mean()).step
    first = max(NUM_FINALISTS, -(-len(candidates) // FIRST_ROUND_SHARE))
    for num, wanted in (
        (first, FIRST_ROUND_SAMPLES),
        (NUM_FINALISTS, finalist_samples(samples, num_items=len(chosen_on))),
    ):
        steps = finalists(candidates, kl_budget_nats=NO_BUDGET, num=num)
        candidates = [one for one in candidates if one.step in steps]
        more = max(0, wanted - samples)
        for index, one in enumerate(candidates):
            counts[one.step] = counts[one.step] + rng.binomial(more, chances[one.step][chosen_on])
            candidates[index] = replace(one, scores=counts[one.step] / (samples + more))
        samples += more
    left = [one for one in evaluated if one.step not in {finalist.step for finalist in candidates}]
    choice, _ = judge(candidates, kl_budget_nats=NO_BUDGET)
    if chosen_on == measured_on:
        gain = corrected_gain(candidates, kl_budget_nats=NO_BUDGET, seed=seed, others=left)
    else:
        fresh = final_samples(answers_per_row(len(chosen_on)), num_items=len(measured_on))
        before, after = (rng.binomial(fresh, chances[step][measured_on]) / fresh for step in (0, choice))
        gain = measure_gain(after if choice else before, before)
    is_delivered = choice != 0 and gain.lower_bound > 0
    return Trial(
        gain,
        truths[choice],
        is_delivered,
        regret=max(truths) - truths[choice if is_delivered else 0],
        regret_of_maximum=max(truths) - truths[maximum],
    )


def cells(name: str, num_rows: int, trials: Sequence[Trial]) -> list[str]:
    chosen_on, measured_on = report_split(num_rows, num_train=1000)
    claimed = sum(one.is_delivered for one in trials) / len(trials)
    return [
        name,
        str(num_rows),
        str(answers_per_row(len(chosen_on))),
        "the same rows" if chosen_on == measured_on else f"{len(measured_on)} others",
        f"{np.mean([one.gain.lower_bound <= one.truth for one in trials]):.3f}",
        f"{np.mean([one.gain.low <= one.truth <= one.gain.high for one in trials]):.3f}",
        f"{claimed:.3f}",
        f"{np.mean([one.regret for one in trials]):.3f}",
        f"{np.mean([one.regret_of_maximum for one in trials]):.3f}",
    ]


if __name__ == "__main__":
    main()
