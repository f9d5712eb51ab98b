"""What a model needs of a machine: bytes per decode step, floating-point operations per token, and what there is.

Counted is what the computation needs, not what an implementation does: a frozen base has no gradient, a prompt
is read once for its group, and what a backward pass computes again does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

# NVIDIA's data sheets: bytes per second of memory, dense bf16 operations per second. By a part of the device's name.
DATA_SHEETS = {
    "H200": (4.8e12, 989e12),
    "H100 80GB HBM3": (3.35e12, 989e12),
    "A100-SXM4-80GB": (2.039e12, 312e12),
    "L40S": (0.864e12, 362e12),
}


@dataclass(frozen=True)
class Sizes:
    """A decoder of the Llama family; `rank` is that of the adapter on each of its linear layers."""

    num_layers: int
    hidden: int
    inner: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocabulary: int
    rank: int

    @classmethod
    def of(cls, config: Any, *, rank: int) -> Sizes:
        """From a configuration of transformers."""
        return cls(
            config.num_hidden_layers,
            config.hidden_size,
            config.intermediate_size,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            config.vocab_size,
            rank,
        )

    @property
    def linears(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of the linear layers of one block."""
        queries, keys = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        hidden, inner = self.hidden, self.inner
        return (
            (hidden, queries),
            (hidden, keys),
            (hidden, keys),
            (queries, hidden),
            *2 * ((hidden, inner),),
            (inner, hidden),
        )

    @property
    def block_weights(self) -> int:
        """Of the linear layers of all blocks."""
        return self.num_layers * sum(inputs * outputs for inputs, outputs in self.linears)

    @property
    def head_weights(self) -> int:
        return self.hidden * self.vocabulary

    @property
    def adapter_weights(self) -> int:
        return self.num_layers * sum(self.rank * (inputs + outputs) for inputs, outputs in self.linears)


def decode_bytes(sizes: Sizes, *, batch: int, context: float, item_bytes: int) -> float:
    """Memory that one decode step has to read: every weight of base, head and adapter once, and all keys and values.

    Args:
        context: tokens that each of the `batch` rows attends to.
        item_bytes: of one number of base, head and cache; the adapter's have 4.
    """
    cache = batch * context * sizes.num_layers * 2 * sizes.num_kv_heads * sizes.head_dim
    return item_bytes * (sizes.block_weights + sizes.head_weights + cache) + 4 * sizes.adapter_weights


def learn_flops(sizes: Sizes, prompt_tokens: int, completions: Sequence[int]) -> float:
    """Operations of a forward and a backward pass over one group: its prompt once, then the completions.

    Of a base's weight there are 2 forward and 2 backward (to its input only), of an adapter's 2 and 4. A query and a
    key of one layer cost 4 for each number of the heads forward and twice that backward. The head sees loss tokens.
    The last token of a completion predicts nothing and is not read.
    """
    read = [length - 1 for length in completions]
    tokens = prompt_tokens + sum(read)
    pairs = prompt_tokens * (prompt_tokens + 1) / 2 + sum(n * prompt_tokens + n * (n + 1) / 2 for n in read)
    attention = sizes.num_layers * 12 * sizes.num_heads * sizes.head_dim * pairs
    return (
        tokens * (4 * sizes.block_weights + 6 * sizes.adapter_weights)
        + attention
        + sum(completions) * 4 * sizes.head_weights
    )


@dataclass(frozen=True)
class Peaks:
    """What this device was measured to do: bytes copied (read and written) and operations per second."""

    bytes_per_s: float
    flops_per_s: float

    def decode_share(self, step_bytes: float, step_s: float) -> float:
        """Of the memory roofline: the time that the bytes alone take, by the time that a step took."""
        return step_bytes / self.bytes_per_s / step_s

    def mfu(self, flops: float, seconds: float) -> float:
        """Model FLOPs utilisation."""
        return flops / seconds / self.flops_per_s


def measure_peaks(device: torch.device, dtype: torch.dtype) -> Peaks:
    """The best of ten large copies and of ten large matrix products."""
    is_gpu = device.type == "cuda"
    numbers = 2**29 if is_gpu else 2**25
    source = torch.ones(numbers, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_s = best_s(device, lambda: target.copy_(source))
    width = 8192 if is_gpu else 512
    a, b = (torch.ones((width, width), dtype=dtype, device=device) for _ in range(2))
    product_s = best_s(device, lambda: a @ b)
    return Peaks(2 * numbers / copy_s, 2 * width**3 / product_s)


def best_s(device: torch.device, work: Callable[[], object], *, repeats: int = 10) -> float:
    """Seconds of the fastest of some runs, after one that does not count."""
    work()
    return min(timed(device, work)[0] for _ in range(repeats))


def timed(device: torch.device, work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds until the device has done it, and the result."""
    synchronize(device)
    start = time.perf_counter()
    result = work()
    synchronize(device)
    return time.perf_counter() - start, result


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def data_sheet(device_name: str) -> str:
    """What the maker says of the device, in words; empty when it is not in the table."""
    found = next((peaks for name, peaks in DATA_SHEETS.items() if name in device_name), None)
    return f"data sheet: {found[0] / 1e9:.0f} GB/s, {found[1] / 1e12:.0f} TFLOP/s dense bf16" if found else ""
