"""The Llama family as a `Network`.

Letters in shapes: B rows, L tokens, T packed tokens, N loss tokens, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from fettle_workers.engine.lora import LoraSettings
from fettle_workers.engine.native.attention import Attend
from fettle_workers.engine.native.budget import Budget, make_budget, memory_bytes, token_bytes
from fettle_workers.engine.native.layers import Layer, block, rms_norm, rotation
from fettle_workers.engine.native.packing import Packed, pack_rows, packed_microbatches
from fettle_workers.engine.native.reader import NativeReader
from fettle_workers.engine.native.weights import LINEAR_NAMES, Adapter, Weights
from fettle_workers.engine.sequences import Microbatch, TokenSequence

MERGED_WEIGHTS = 100_000_000  # largest number of adapted weights that is worth a merged copy


class NativeBase:
    """A frozen base of the Llama family."""

    linear_names = LINEAR_NAMES

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    def adapted(self, settings: LoraSettings) -> NativeNetwork:
        return NativeNetwork(self.weights, Adapter.on(self.weights, settings))


class NativeNetwork:
    """See `Network`."""

    def __init__(self, weights: Weights, adapter: Adapter) -> None:
        self.weights, self._adapter = weights, adapter
        sizes = weights.sizes
        self.hidden_size, self.num_logits, self.context_size = sizes.hidden_size, sizes.vocab_size, sizes.context_size
        self.adapter_off = False

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        return self._adapter.parameters

    def base_tensors(self) -> Iterator[tuple[str, Tensor]]:
        return self.weights.named_tensors()

    @property
    def may_merge(self) -> bool:
        """Whether base and adapter may stand in one weight. Not in bf16, where a merged weight would be rounded, nor
        where the base is spread, as the copies would stand whole in every process."""
        if self.weights.shards is not None:
            return False
        total = sum(linear.weight.numel() for layer in self.weights.layers for linear in layer.linears)
        return self.weights.embedding.dtype == torch.float32 and total <= MERGED_WEIGHTS

    def layers(self, *, merged: bool) -> list[Layer]:
        """The blocks' weights with the adapter as it is now, or without it while it is off."""
        if self.adapter_off:
            return self.weights.layers
        return self._adapter.on_layers(self.weights, merged=merged)

    def through_blocks(self, x: Tensor, layers: Sequence[Layer], run: Callable[[Tensor, Layer, int], Tensor]) -> Tensor:
        """The residual stream after all blocks; `run` computes one, which is `layers[number]` with its weights."""
        if self.weights.shards is not None:
            return self.weights.shards.through_blocks(x, layers, run)
        for number, layer in enumerate(layers):
            x = run(x, layer, number)
        return x

    def logits(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        packed = pack_rows(ids_BL, mask_BL)
        logits_TV = self.head(self._hidden(packed))
        cells_T = mask_BL.flatten().nonzero()[:, 0]
        filled = logits_TV.new_zeros(mask_BL.numel(), self.num_logits).index_copy(0, cells_T, logits_TV)
        return filled.unflatten(0, mask_BL.shape)

    def microbatches(self, sequences: Sequence[TokenSequence]) -> Iterator[Microbatch]:
        return packed_microbatches(
            sequences,
            budget=self.budget(max((len(sequence.ids) for sequence in sequences), default=0)),
            device=self.weights.embedding.device,
        )

    def budget(self, longest: int) -> Budget:
        """How many tokens go through one pass when the longest sequence has `longest`."""
        device = self.weights.embedding.device
        return make_budget(
            self._token_bytes(longest), longest=longest, memory_bytes=memory_bytes(device), device_type=device.type
        )

    @cached_property
    def _token_bytes(self) -> Callable[[int], int]:
        """Measured on two short sequences. The head is not in it: it runs in chunks of a fixed size."""
        shards, there = self.weights.shards, (*self.weights.tensors.values(), *self.parameters.values())
        addresses = {tensor.untyped_storage().data_ptr() for tensor in there}

        def run(size: int) -> Tensor:
            before, self.adapter_off = self.adapter_off, False
            ids = torch.zeros((1, size), dtype=torch.long, device=self.weights.embedding.device)
            try:
                return self._hidden(pack_rows(ids, torch.ones_like(ids)))
            finally:
                self.adapter_off = before

        return token_bytes(run, unless=lambda: addresses | shards.addresses() if shards else addresses)

    def loss_hidden(self, batch: Microbatch) -> Tensor:
        packed: Packed = batch.inputs
        return self._hidden(packed).index_select(0, packed.predicts_N)

    def head(self, hidden: Tensor) -> Tensor:
        return functional.linear(hidden.float(), self.weights.head)

    def reader(self) -> NativeReader:
        return NativeReader(self)

    def _hidden(self, packed: Packed) -> Tensor:
        """Normed hidden states [T, H] of the last layer."""
        sizes = self.weights.sizes
        x = functional.embedding(packed.ids_T, self.weights.embedding)
        turn = rotation(packed.positions_T, sizes, x.dtype)
        attention = Attend(packed.buckets)
        recomputes = packed.recomputes and torch.is_grad_enabled()

        def run(x: Tensor, layer: Layer, number: int) -> Tensor:
            if recomputes:
                return cast(Tensor, checkpoint(block, x, layer, sizes, turn, attention, use_reentrant=False))
            return block(x, layer, sizes, turn, attention)

        x = self.through_blocks(x, self.layers(merged=self.may_merge), run)
        return rms_norm(x, self.weights.norm, sizes.norm_eps)
