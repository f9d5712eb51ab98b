"""The rows that run together: what a completion asks for, and the tensors that hold the state of many.

Letters in shapes: B running rows, S stop ids, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fettle_workers.engine.draw import uniforms
from fettle_workers.engine.network import Memory

_AHEAD = 16  # draws whose random numbers are made at once
LogitsEdit = Callable[[Tensor], Tensor]  # [V] fp32 -> [V]; must not write to its argument


@dataclass(frozen=True)
class SamplingParams:
    """`stop_ids` None means the model's own end-of-turn ids. A stop id is the last id of the completion it ends."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop_ids: frozenset[int] | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}, expected at least 1")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"temperature {self.temperature} must be >= 0 and top_p {self.top_p} in (0, 1]")


@dataclass(eq=False)
class Row:
    """One running completion. `edit` may change the logits before each draw (penalties, a grammar)."""

    prompt_ids: tuple[int, ...]
    seed: int
    params: SamplingParams
    edit: LogitsEdit | None = None


@dataclass
class Batch:
    """The state of the running rows; every tensor's first dimension is B.

    `uniforms_BK` are the random numbers of the next K draws; `selected` and `joined` leave them to be made anew.
    """

    rows: list[Row]
    memory: Memory
    logits_BV: Tensor  # of the next token
    first_column_B: Tensor  # first used column of the cache
    position_B: Tensor  # of the next token in its sequence
    num_made_B: Tensor
    seeds_B: np.ndarray
    temperature_B: Tensor
    top_p_B: Tensor
    max_new_B: Tensor
    stop_ids_BS: Tensor
    num_columns: int
    alive: np.ndarray  # False: finished, but not taken out yet
    uniforms_BK: Tensor | None = None

    def __post_init__(self) -> None:
        every = [row.params for row in self.rows]
        self.has_edits = any(row.edit for row in self.rows)
        self.has_greedy = any(params.temperature == 0 for params in every)
        self.cuts_tails = any(params.top_p < 1 for params in every)

    def next_uniforms(self) -> Tensor:
        """One number a row, float64 [B]. It hangs on seed and position alone: those of many steps are made at once."""
        if self.uniforms_BK is None or self.uniforms_BK.shape[1] == 0:
            positions_BK = self.num_made_B.cpu().numpy().astype(np.uint64)[:, None] + np.arange(_AHEAD, dtype=np.uint64)
            numbers_BK = uniforms(self.seeds_B[:, None], positions_BK)
            self.uniforms_BK = torch.as_tensor(numbers_BK, device=self.logits_BV.device)
        numbers_B, self.uniforms_BK = self.uniforms_BK[:, 0], self.uniforms_BK[:, 1:]
        return numbers_B


def fresh_batch(
    rows: list[Row],
    memory: Memory,
    logits_BV: Tensor,
    first_column_B: Tensor,
    num_columns: int,
    eos_ids: frozenset[int],
    device: torch.device,
) -> Batch:
    stops = [sorted(eos_ids if row.params.stop_ids is None else row.params.stop_ids) for row in rows]
    width = max(1, *map(len, stops))
    return Batch(
        rows=list(rows),
        memory=memory,
        logits_BV=logits_BV,
        first_column_B=first_column_B,
        position_B=torch.tensor([len(row.prompt_ids) for row in rows], device=device),
        num_made_B=torch.zeros(len(rows), dtype=torch.long, device=device),
        seeds_B=np.array([row.seed % 2**64 for row in rows], dtype=np.uint64),
        temperature_B=torch.tensor([row.params.temperature for row in rows], device=device),
        top_p_B=torch.tensor([row.params.top_p for row in rows], dtype=torch.float64, device=device),
        max_new_B=torch.tensor([row.params.max_new_tokens for row in rows], device=device),
        stop_ids_BS=torch.tensor([ids + [-1] * (width - len(ids)) for ids in stops], device=device),
        num_columns=num_columns,
        alive=np.ones(len(rows), bool),
    )


_ROW_TENSORS = ("logits_BV", "position_B", "num_made_B", "temperature_B", "top_p_B", "max_new_B")


def selected(batch: Batch, kept: Tensor) -> Batch:
    """Only the kept rows, and no column that none of them uses."""
    numbers = kept.cpu().numpy()
    first_column_B = batch.first_column_B[kept]
    trim = int(first_column_B.min())
    batch.memory.select(kept, first_column=trim)
    return Batch(
        rows=[batch.rows[i] for i in numbers.tolist()],
        memory=batch.memory,
        first_column_B=first_column_B - trim,
        seeds_B=batch.seeds_B[numbers],
        stop_ids_BS=batch.stop_ids_BS[kept],
        num_columns=batch.num_columns - trim,
        alive=batch.alive[numbers],
        **{name: getattr(batch, name)[kept] for name in _ROW_TENSORS},
    )


def joined(first: Batch, second: Batch) -> Batch:
    """The rows of both, aligned on the newest column. The running rows first lose what no live one needs."""
    if not first.alive.all():
        first = selected(first, torch.as_tensor(np.flatnonzero(first.alive), device=first.logits_BV.device))
    length = max(first.num_columns, second.num_columns)
    width = max(first.stop_ids_BS.shape[1], second.stop_ids_BS.shape[1])
    both = (first, second)
    first.memory.join(second.memory)
    return Batch(
        rows=first.rows + second.rows,
        memory=first.memory,
        first_column_B=torch.cat([part.first_column_B + length - part.num_columns for part in both]),
        seeds_B=np.concatenate([part.seeds_B for part in both]),
        stop_ids_BS=torch.cat(
            [nn.functional.pad(part.stop_ids_BS, (0, width - part.stop_ids_BS.shape[1]), value=-1) for part in both]
        ),
        num_columns=length,
        alive=np.concatenate([part.alive for part in both]),
        **{name: torch.cat([getattr(part, name) for part in both]) for name in _ROW_TENSORS},
    )
