"""Where the frozen base of a job stands: whole in every process, or a part of it in each. Decided before it is loaded.

In the field's terms: data parallel with a replicated base (DDP), or fully sharded (FSDP). The adapter and its optimizer
are small and stand whole in every process either way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from fettle_workers.engine.native.budget import LEARNING_SHARE, memory_bytes
from fettle_workers.engine.network import ModelError
from fettle_workers.engine.processes import Processes

Parallelism = Literal["auto", "ddp", "fsdp"]
_ASKED = "FETTLE_TRAINER_PARALLELISM asks for it"


@dataclass(frozen=True)
class BaseSize:
    """Bytes of a base on a device: of all its blocks, and of what is used outside of them, the fp32 head included."""

    in_blocks: int
    outside: int
    num_blocks: int

    @property
    def whole(self) -> int:
        return self.in_blocks + self.outside

    def part(self, num_processes: int) -> int:
        """What one of them needs: its part, and two whole blocks, one that computes and one that comes."""
        return self.in_blocks // num_processes + 2 * self.in_blocks // self.num_blocks + self.outside


@dataclass(frozen=True)
class Placement:
    num_processes: int = 1
    parallelism: Literal["ddp", "fsdp"] = "ddp"
    why: str = "there is one process"

    def entries(self) -> dict[str, int | str]:
        """What a job's plan shows; nothing for a single process."""
        if self.num_processes == 1:
            return {}
        return {
            "trainer_processes": self.num_processes,
            "parallelism": self.parallelism,
            "parallelism_reason": self.why,
        }


ALONE = Placement()


def choose_placement(
    asked: Parallelism, processes: Processes, size: BaseSize, device: torch.device, *, can_shard: bool = True
) -> Placement:
    """Whole in every process if that fits beside what learning may take of the smallest memory among them.

    Args:
        can_shard: whether this base can be spread at all; where it cannot and does not fit, nothing is begun.

    Raises:
        ModelError: it fits in no way.
    """
    number = processes.size
    if number == 1:
        return ALONE
    if asked == "ddp":
        return Placement(number, "ddp", _ASKED)
    if asked == "fsdp" and can_shard:
        return Placement(number, "fsdp", _ASKED)
    memory = min(processes.gather(lambda: memory_bytes(device)))
    if device.type == "cpu":
        memory //= number  # they share it
    room = int((1 - LEARNING_SHARE) * memory)
    why = (
        f"the base takes {_gib(size.whole)}, and learning leaves {_gib(room)} of {_gib(memory)}, the smallest memory "
        "of a process"
    )
    if asked == "fsdp" or (size.whole > room and not can_shard):
        raise ModelError(
            f"{why}. This architecture is computed by transformers, whose base Fettle does not spread over processes "
            "(FSDP): use a GPU with more memory or a smaller base, or try FETTLE_TRAINER_PARALLELISM=ddp."
        )
    if size.whole <= room:
        return Placement(number, "ddp", why)
    if size.part(number) > room:
        raise ModelError(
            f"{why}. Spread over {number} processes each would hold {_gib(size.part(number))}: use more GPUs, GPUs "
            "with more memory, or a smaller base; FETTLE_TRAINER_PARALLELISM=fsdp tries it all the same."
        )
    return Placement(number, "fsdp", f"{why}; spread, each holds {_gib(size.part(number))}")


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.3g} GiB"
