"""Which items are worth sampling now: a memory of how often an item's group taught something."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fettle_workers.engine.seeds import stable_seed

DECAY = 0.9
REST_BELOW = 0.15
PROBE_EVERY_EPOCHS = 4
REFILL_ABOVE = 0.5
MAX_OVERDRAW = 3


@dataclass
class ItemMemory:
    """Per row, decayed counts of informative and flat groups: a Beta(1 + informative, 1 + flat) belief.

    It looks at flatness, not at pass rates, because a user's rewards need not lie between 0 and 1. Always solved and
    never solved items both teach nothing; both rest, and both are probed again, because policies change.

    `reward` is a moving average of the row's mean reward, None before its first visit, and `best` the highest it had:
    compared row by row, they do not move with the choice of rows.
    """

    informative: list[float]
    flat: list[float]
    reward: list[float | None]
    best: list[float | None]
    position: int = field(default=0)

    @classmethod
    def of(cls, num_rows: int) -> ItemMemory:
        return cls([0.0] * num_rows, [0.0] * num_rows, [None] * num_rows, [None] * num_rows)

    def chance(self, row: int) -> float:
        """Expected chance that a group of this row teaches something."""
        return (1 + self.informative[row]) / (2 + self.informative[row] + self.flat[row])

    def observe(self, row: int, *, informative: bool) -> None:
        self.informative[row] = DECAY * self.informative[row] + informative
        self.flat[row] = DECAY * self.flat[row] + (not informative)

    def observe_reward(self, row: int, mean: float) -> None:
        before, best = self.reward[row], self.best[row]
        now = mean if before is None else (before + mean) / 2
        self.reward[row], self.best[row] = now, now if best is None else max(best, now)

    def shortfall(self, rows: Iterable[int]) -> float | None:
        """Mean distance of these rows' rewards below their best; None when none was ever graded."""
        pairs = ((self.best[row], self.reward[row]) for row in rows)
        found = [best - now for best, now in pairs if best is not None and now is not None]
        return sum(found) / len(found) if found else None

    @property
    def mean_reward(self) -> float | None:
        """Over all rows visited so far, each as it was at its last visits."""
        seen = [reward for reward in self.reward if reward is not None]
        return sum(seen) / len(seen) if seen else None


def epoch_order(num_rows: int, *, seed: int, epoch: int) -> list[int]:
    """The rows in the order in which this epoch visits them."""
    generator = np.random.Generator(np.random.Philox(stable_seed(seed, "epoch", epoch)))
    return [int(row) for row in generator.permutation(num_rows)]


def draw_rows(memory: ItemMemory, *, batch_size: int, seed: int) -> list[int]:
    """The rows of the next step: the next `batch_size` of an endless chain of epochs, resting rows skipped.

    Skipped rows are not replaced: they would have given no gradient, so leaving them out changes time, not learning.
    When all of them rest, none does.
    """
    num_rows = len(memory.flat)
    positions = range(memory.position, memory.position + batch_size)
    memory.position += batch_size
    orders = {epoch: epoch_order(num_rows, seed=seed, epoch=epoch) for epoch in {p // num_rows for p in positions}}
    drawn = [(p // num_rows, orders[p // num_rows][p % num_rows]) for p in positions]
    awake = [row for epoch, row in drawn if not _rests(memory, row, epoch)]
    return awake or [row for _, row in drawn]


def _rests(memory: ItemMemory, row: int, epoch: int) -> bool:
    # Rows are probed in different epochs, so that probes do not come in one lump.
    is_probe = (epoch + row) % PROBE_EVERY_EPOCHS == 0
    return memory.chance(row) < REST_BELOW and not is_probe


def refill_rows(
    memory: ItemMemory, *, informative_rows: Sequence[int], wanted: int, drawn: int, seed: int, step: int, round_: int
) -> list[int]:
    """More rows to sample in this step, to replace flat groups. Empty when it does not pay.

    It pays while fewer than half of the wanted groups teach something and rows are left whose groups teach something
    with even odds at least; of those, the ones of middling reward come first. In all, a step draws at most three times
    what it wanted.

    Args:
        informative_rows: rows that gave an informative group in this step.
        wanted: groups the step set out with.
        drawn: groups sampled so far, refills included.
    """
    missing = min(wanted - len(informative_rows), MAX_OVERDRAW * wanted - drawn)
    if missing <= 0 or len(informative_rows) * 2 >= wanted:
        return []
    generator = np.random.Generator(np.random.Philox(stable_seed(seed, "refill", step, round_)))
    found = set(informative_rows)
    rows = [row for row in range(len(memory.flat)) if row not in found and memory.chance(row) >= REFILL_ABOVE]
    # Drawing without replacement by weight is taking the largest u ** (1 / weight): Efraimidis & Spirakis 2006.
    keys = {row: u ** (1 / _usefulness(memory, row)) for row, u in zip(rows, generator.random(len(rows)), strict=True)}
    return sorted(rows, key=lambda row: (-keys[row], row))[:missing]


def _usefulness(memory: ItemMemory, row: int) -> float:
    """p * (1 - p), the variance of a reward of 0 or 1, and a tenth of its maximum for every row.

    p is where the row's reward lies between the lowest and the highest of all rows'. Unvisited rows count as p = 1/2.
    """
    seen = [reward for reward in memory.reward if reward is not None]
    now = memory.reward[row]
    if now is None or max(seen) <= min(seen):
        return 0.25
    rate = (now - min(seen)) / (max(seen) - min(seen))
    return 0.9 * rate * (1 - rate) + 0.025
