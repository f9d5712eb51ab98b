"""How many packed tokens go through one forward pass: what fits in memory, by measurement."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

# More tokens in one pass are not faster: on a CPU their activations leave the cache, a GPU is busy by then.
MOST_TOKENS = {"cpu": 2048, "cuda": 16_384}
LEARNING_SHARE = 0.5  # of the memory, for what the backward pass needs; the rest is weights, sampling, passing tensors
_PROBE_TOKENS = (128, 256)


@dataclass(frozen=True)
class Budget:
    """`max_tokens` of a microbatch; a sequence longer than that goes alone. `recomputes`: blocks keep their input only
    and run again in the backward pass, because the longest sequence would not fit otherwise."""

    max_tokens: int
    recomputes: bool


def make_budget(token_bytes: int, *, longest: int, memory_bytes: int, device_type: str) -> Budget:
    """The budget when the backward pass needs `token_bytes` for each token."""
    fitting = int(LEARNING_SHARE * memory_bytes / token_bytes)
    return Budget(max(1, min(fitting, MOST_TOKENS[device_type])), recomputes=longest > fitting)


def kept_bytes(run: Callable[[], Tensor], *, unless: Callable[[], set[int]]) -> int:
    """Bytes that a differentiable computation keeps for its backward pass.

    Args:
        unless: addresses of storages that are there anyway, such as weights; those of spread blocks come and go.
    """
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in unless():
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(pack, lambda tensor: tensor):
        result = run()  # held, so that no storage is freed and its address given to another
    del result
    return sum(kept.values())


def token_bytes(run: Callable[[int], Tensor], *, unless: Callable[[], set[int]]) -> Callable[[int], int]:
    """Bytes per token as a function of the sequence's length, measured at two lengths: a part that every token costs,
    and one for each token that it attends to.

    Args:
        run: the computation on one sequence of so many tokens.
    """
    short, long = _PROBE_TOKENS
    at_short, at_long = (kept_bytes(lambda size=size: run(size), unless=unless) / size for size in _PROBE_TOKENS)
    slope = max(0.0, (at_long - at_short) / (long - short))
    return lambda length: max(1, round(at_short + slope * (length - short)))


def memory_bytes(device: torch.device) -> int:
    """Memory of the device or, on a CPU, what the machine or the container may use. The same at every call, so that a
    resumed job cuts its microbatches, and rounds its sums, as before."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(physical, int(text)) if text.isdigit() else physical
