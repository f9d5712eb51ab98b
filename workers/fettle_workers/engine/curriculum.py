"""Which items are worth sampling now: a memory of how often an item's group taught something."""

from __future__ import annotations

from collections.abc import Sequence
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
    """

    informative: list[float]
    flat: list[float]
    position: int = field(default=0)

    @classmethod
    def of(cls, num_rows: int) -> ItemMemory:
        return cls([0.0] * num_rows, [0.0] * num_rows)

    def chance(self, row: int) -> float:
        """Expected chance that a group of this row teaches something."""
        return (1 + self.informative[row]) / (2 + self.informative[row] + self.flat[row])

    def observe(self, row: int, *, informative: bool) -> None:
        self.informative[row] = DECAY * self.informative[row] + informative
        self.flat[row] = DECAY * self.flat[row] + (not informative)


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
    with even odds at least. In all, a step draws at most three times what it wanted.

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
    order = [int(row) for row in generator.permutation(len(memory.flat))]
    return [row for row in order if row not in found and memory.chance(row) >= REFILL_ABOVE][:missing]
