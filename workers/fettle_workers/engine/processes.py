"""The processes that train one job together, and all that they say to each other. Alone, nothing here does anything.

Every process runs the same step loop on the same state. What is heavy is split: prompts to answer and grade, sequences
to learn from and to score. What one process settles for all: commands, files, and every number on which a decision
hangs, because two devices may round it differently.

Where the base is spread over the processes, each needs the parts of all others in every pass through its blocks, and so
all make equally many: before each part of a pass they tell each other that it comes, and who has nothing left to do
stands in until nobody has.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup

T = TypeVar("T")
R = TypeVar("R")


class ProcessesDrifted(RuntimeError):
    """Processes that must hold the same state do not: a defect of Fettle or of a device."""


class Turn(IntEnum):
    """What a process is about to do together with all others: NONE if it has nothing left to do. READ: see the base."""

    NONE = 0
    FORWARD = 1
    BACKWARD = 2
    READ = 3


@dataclass(frozen=True)
class _Raised:
    error: Exception


class Processes:
    """One of `size` processes; `group` None means that there is no other."""

    def __init__(self, group: ProcessGroup | None = None) -> None:
        self.group = group
        self.rank = 0 if group is None else group.rank()
        self.size = 1 if group is None else group.size()
        self.is_in_turn = False  # inside a part of a pass that the others make with this process
        self._stand_in: Callable[[Turn], None] | None = None

    def gather(self, work: Callable[[], T]) -> list[T]:
        """What `work` gave in each process, in their order. What it raises in one is raised in all."""
        if self.group is None:
            return [work()]
        mine = self._outcome(work)
        found = [mine] * self.size
        distributed.all_gather_object(found, mine, group=self.group)
        found[self.rank] = mine  # an error keeps its traceback where it was raised
        return [_result(outcome) for outcome in found]

    def agree(self, work: Callable[[], T]) -> T:
        """What `work` gave in the first process, after every one did it."""
        return self.gather(work)[0]

    def decide(self, work: Callable[[], T]) -> T:
        """What `work` gave in the first process, which alone does it."""
        if self.group is None:
            return work()
        settled = [self._outcome(work if self.rank == 0 else _nothing)]
        distributed.broadcast_object_list(settled, src=0, group=self.group)
        return _result(cast("T | _Raised", settled[0]))

    def make_passes_together(self, stand_in: Callable[[Turn], None]) -> None:
        """From now on every pass is one of all processes. `stand_in` takes part in a turn without work of its own."""
        self._stand_in = stand_in

    def begin(self, turn: Turn) -> None:
        """Before a turn: wait for the others. Until `end`, a process that fails must end, as they wait for its part.

        Raises:
            ProcessesDrifted: another process is about to do something else.
        """
        self.is_in_turn = True
        self._exchange(turn)

    def end(self) -> None:
        self.is_in_turn = False

    def _exchange(self, mine: Turn) -> Turn:
        """What those are about to do that have something left to do; it must be the same."""
        wanted = torch.zeros(len(Turn), dtype=torch.long)
        wanted[mine] = 1
        distributed.all_reduce(wanted, group=self.group)
        turns = [Turn(turn) for turn in wanted.nonzero()[:, 0].tolist() if turn != Turn.NONE]
        if len(turns) > 1:
            names = " and ".join(turn.name for turn in turns)
            raise ProcessesDrifted(f"of {self.size} processes that make every pass together, some want {names}")
        return turns[0] if turns else Turn.NONE

    def _outcome(self, work: Callable[[], T]) -> T | _Raised:
        """What `work` gives or raises, once every process has done its own."""
        found: T | _Raised
        try:
            found = work()
        except Exception as error:  # raised again in every process
            if self.is_in_turn:
                raise
            found = _Raised(error)
        if self._stand_in is not None:
            self.is_in_turn = True
            while turn := self._exchange(Turn.NONE):
                self._stand_in(turn)
            self.is_in_turn = False
        return found

    def share(self, sizes: Sequence[int]) -> slice:
        """This process's part of a list whose entries are that large: contiguous, about as large as every other."""
        ends = list(accumulate(sizes))
        # An entry belongs to the process in whose stretch of the total its middle lies.
        owners = [int((end - size / 2) * self.size / ends[-1]) for end, size in zip(ends, sizes, strict=True)]
        return slice(bisect_left(owners, self.rank), bisect_right(owners, self.rank))

    def split(self, items: Sequence[T], work: Callable[[Sequence[T]], Sequence[R]]) -> list[R]:
        """`work(items)`, whose results are one for each item, with each process doing its share."""
        mine = items[self.share([1] * len(items))]
        return [result for part in self.gather(lambda: work(mine) if mine else []) for result in part]

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Make each tensor the sum of those of all processes; in one message, as there are hundreds of small ones."""
        if self.group is None:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat, group=self.group)
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def check_same(self, digest: Callable[[], str]) -> None:
        """Raises ProcessesDrifted when not all processes have the same digest."""
        if self.size > 1 and len(found := set(self.gather(digest))) > 1:
            raise ProcessesDrifted(f"{self.size} processes that train one job hold {len(found)} different states")


def _nothing() -> None:
    return None


def _result(outcome: T | _Raised) -> T:
    if isinstance(outcome, _Raised):
        raise outcome.error
    return outcome
