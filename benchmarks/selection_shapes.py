"""Made up trainings: the chance of every row at every evaluation, of which step 0 is the first."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Chances = list[NDArray[np.float64]]


def rising(evaluations: int, height: float) -> list[float]:
    """Up to `height` by the fourth evaluation, or at once where there is but one."""
    return [height * min(1.0, number / min(4, evaluations)) for number in range(1, evaluations + 1)]


def scattered(rng: Generator, base: NDArray[np.float64], heights: list[float], spread: float) -> Chances:
    """Rows gain so much more or less. Half of what sets a row apart stays with it from evaluation to evaluation."""
    half = spread / 2**0.5
    own = rng.normal(0, half, len(base))
    return [base, *(np.clip(base + height + own + rng.normal(0, half, len(base)), 0, 1) for height in heights)]


def even(rng: Generator, rows: int, evaluations: int) -> Chances:
    """All rows gain about the same."""
    return scattered(rng, rng.uniform(0.1, 0.6, rows), rising(evaluations, 0.1), 0.1)


def uneven(rng: Generator, rows: int, evaluations: int) -> Chances:
    """Some gain much, many lose."""
    return scattered(rng, rng.uniform(0.1, 0.6, rows), rising(evaluations, 0.1), 0.25)


def high(rng: Generator, rows: int, evaluations: int) -> Chances:
    """A good base gains a little."""
    return scattered(rng, rng.uniform(0.5, 0.9, rows), rising(evaluations, 0.08), 0.05)


def turned(rng: Generator, base: NDArray[np.float64], shares: list[float], *, to: float, lost: float = 0.0) -> Chances:
    """A growing share of the rows comes to be solved, a share is unlearned."""
    turn = rng.random(len(base))
    return [base, *(np.where(turn < share, to, np.where(turn > 1 - lost, 0.2 * base, base)) for share in shares)]


def solved(rng: Generator, rows: int, evaluations: int) -> Chances:
    """Most rows come to be solved, a tenth is unlearned: the differences lean to the left."""
    return turned(rng, rng.beta(1.5, 2.5, rows), rising(evaluations, 0.8), to=0.95, lost=0.1)


def part(rng: Generator, rows: int, evaluations: int) -> Chances:
    """Three rows in ten come to be solved."""
    return turned(rng, rng.beta(1.5, 2.5, rows), rising(evaluations, 0.3), to=0.95)


def rare(rng: Generator, rows: int, evaluations: int) -> Chances:
    """One row in ten comes to be solved: the differences lean to the right."""
    return turned(rng, rng.beta(0.5, 4, rows), rising(evaluations, 0.1), to=0.9)


def scarce(rng: Generator, rows: int, evaluations: int) -> Chances:
    """Hardly any answer has a reward, then twice as many have."""
    base = rng.beta(0.2, 6, rows)
    return [base, *(np.clip((1 + share) * base + 0.02 * share, 0, 1) for share in rising(evaluations, 1.0))]


def lost(rng: Generator, rows: int, evaluations: int) -> Chances:
    """Nine rows in ten gain, the tenth is unlearned altogether: few rows may hold none of those."""
    base, turn = rng.uniform(0.5, 0.9, rows), rng.random(rows)
    return [base, *(np.where(turn > 0.9, 0.1 * base, base + height) for height in rising(evaluations, 0.1))]


def nothing(rng: Generator, rows: int, evaluations: int) -> Chances:
    """Training moves rows up and down, and gains nothing."""
    return scattered(rng, rng.uniform(0.1, 0.6, rows), rising(evaluations, 0.0), 0.1)


def harmed(rng: Generator, rows: int, evaluations: int) -> Chances:
    """Training does harm."""
    return scattered(rng, rng.uniform(0.1, 0.6, rows), rising(evaluations, -0.05), 0.1)


def spoilt(rng: Generator, rows: int, evaluations: int) -> Chances:
    """A gain that is lost again with further training."""
    fall = 0.33 / max(1, evaluations)
    heights = [height - fall * max(0, number - 3) for number, height in enumerate(rising(evaluations, 0.25))]
    return scattered(rng, rng.uniform(0.1, 0.6, rows), heights, 0.14)


def walk(rng: Generator, rows: int, evaluations: int) -> Chances:
    """The gain wanders, in every job another way."""
    return wandering(rng, rows, np.cumsum(rng.normal(0, 0.04, evaluations)))


def jumps(rng: Generator, rows: int, evaluations: int) -> Chances:
    """Every evaluation gains something else, in every job anew: neighbours say nothing of each other."""
    return wandering(rng, rows, rng.normal(0.05, 0.05, evaluations))


def wandering(rng: Generator, rows: int, gains: NDArray[np.float64]) -> Chances:
    base, own = rng.uniform(0.3, 0.6, rows), rng.uniform(-0.05, 0.05, rows)
    return [base, *(base + gain + own + rng.uniform(-0.05, 0.05, rows) for gain in np.clip(gains, -0.18, 0.28))]


# Those whose gain is another one in every job.
WANDERING = ("walk", "jumps")

SHAPES = {
    shape.__name__: shape
    for shape in (
        even, uneven, high, solved, part, rare, scarce, lost, nothing, harmed, spoilt, walk, jumps,
    )
}  # fmt: skip
