"""The processes that train one job together, and all that they say to each other. Alone, nothing here does anything.

Every process runs the same step loop on the same state. What is heavy is split: prompts to answer and grade, sequences
to learn from and to score. What one process settles for all: commands, files, and every number on which a decision
hangs, because two devices may round it differently.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup

T = TypeVar("T")
R = TypeVar("R")


class ProcessesDrifted(RuntimeError):
    """Processes that must hold the same state do not: a defect of Fettle or of a device."""


@dataclass(frozen=True)
class _Raised:
    error: Exception


class Processes:
    """One of `size` processes; `group` None means that there is no other."""

    def __init__(self, group: ProcessGroup | None = None) -> None:
        self._group = group
        self.rank = 0 if group is None else group.rank()
        self.size = 1 if group is None else group.size()

    def gather(self, work: Callable[[], T]) -> list[T]:
        """What `work` gave in each process, in their order. What it raises in one is raised in all."""
        if self._group is None:
            return [work()]
        mine = _outcome(work)
        found = [mine] * self.size
        distributed.all_gather_object(found, mine, group=self._group)
        found[self.rank] = mine  # an error keeps its traceback where it was raised
        return [_result(outcome) for outcome in found]

    def agree(self, work: Callable[[], T]) -> T:
        """What `work` gave in the first process, after every one did it."""
        return self.gather(work)[0]

    def decide(self, work: Callable[[], T]) -> T:
        """What `work` gave in the first process, which alone does it."""
        if self._group is None:
            return work()
        settled = [_outcome(work) if self.rank == 0 else None]
        distributed.broadcast_object_list(settled, src=0, group=self._group)
        return _result(cast("T | _Raised", settled[0]))

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
        if self._group is None:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat, group=self._group)
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def check_same(self, digest: Callable[[], str]) -> None:
        """Raises ProcessesDrifted when not all processes have the same digest."""
        if self.size > 1 and len(found := set(self.gather(digest))) > 1:
            raise ProcessesDrifted(f"{self.size} processes that train one job hold {len(found)} different states")


def _outcome(work: Callable[[], T]) -> T | _Raised:
    try:
        return work()
    except Exception as error:  # raised again in every process
        return _Raised(error)


def _result(outcome: T | _Raised) -> T:
    if isinstance(outcome, _Raised):
        raise outcome.error
    return outcome
