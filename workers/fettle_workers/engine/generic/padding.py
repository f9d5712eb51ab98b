"""Microbatches as padded rows, with prompts that several rows share taken apart.

Letters in shapes: B rows, L tokens, N loss tokens (row by row).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fettle_workers.engine.generic.prefix import SharedPrompts, share_prompts
from fettle_workers.engine.sequences import Microbatch, TokenSequence

# Padded tokens of one forward pass. Small rows of equal length beat one large padded batch on a CPU.
CPU_TOKENS, GPU_TOKENS = 4096, 16_384


@dataclass(frozen=True)
class Padded:
    """Rows padded on the right, where causal attention needs no mask. `shared` is the same with common prompts apart,
    where that saves work."""

    ids_BL: Tensor
    mask_BL: Tensor
    loss_BL: Tensor
    shared: SharedPrompts | None = None


def padded_microbatches(sequences: Sequence[TokenSequence], device: torch.device) -> Iterator[Microbatch]:
    """Cut sequences, longest first, into padded batches under the device's token budget."""
    budget = CPU_TOKENS if device.type == "cpu" else GPU_TOKENS
    order = sorted(range(len(sequences)), key=lambda index: (-len(sequences[index].ids), index))
    start = 0
    while start < len(order):
        longest = len(sequences[order[start]].ids)
        stop = start + max(1, budget // longest)
        yield _padded([sequences[index] for index in order[start:stop]], tuple(order[start:stop]), device)
        start = stop


def _padded(sequences: Sequence[TokenSequence], members: tuple[int, ...], device: torch.device) -> Microbatch:
    longest = max(len(sequence.ids) for sequence in sequences)
    ids = torch.zeros(len(sequences), longest, dtype=torch.long)
    mask = torch.zeros(len(sequences), longest, dtype=torch.long)
    loss = torch.zeros(len(sequences), longest, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
        mask[row, : len(sequence.ids)] = 1
        loss[row, : len(sequence.ids)] = torch.tensor(sequence.in_loss)
    loss[:, 0] = False
    rows = torch.arange(len(sequences))[:, None].expand_as(loss)
    shared = share_prompts([(sequence.ids, sequence.in_loss) for sequence in sequences], device)
    inputs = Padded(*(tensor.to(device) for tensor in (ids, mask, loss)), shared)
    return Microbatch(members, ids[loss].to(device), rows[loss].to(device), inputs)
