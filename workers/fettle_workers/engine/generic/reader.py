"""Token by token through a network of transformers, for the sampler."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor

from fettle_workers.engine.generic.slots import Slots, has_recurrent_state

if TYPE_CHECKING:  # the network makes its reader
    from fettle_workers.engine.generic.network import GenericNetwork

MERGED_WEIGHTS = 100_000_000  # largest number of adapted weights that is worth a merged copy


class GenericReader:
    """See `Reader`. A small model's weights are merged with a copy of the base's, which saves a quarter of the time."""

    def __init__(self, network: GenericNetwork) -> None:
        self._model = network.base
        self.pads_prompts = not has_recurrent_state(self._model.config)
        arguments = inspect.signature(self._model.forward).parameters
        self._cache_argument = "past_key_values" if "past_key_values" in arguments else "cache_params"
        self._has_positions = "position_ids" in arguments
        self._weights = _merged_weights(network)

    def read_prompts(self, ids_PL: Tensor, first_column_P: Tensor, *, room: int) -> tuple[Slots, Tensor]:
        inputs = {}
        if self._has_positions and bool(first_column_P.any()):
            mask = (torch.arange(ids_PL.shape[1], device=ids_PL.device) >= first_column_P[:, None]).long()
            inputs = {"attention_mask": mask, "position_ids": (mask.cumsum(-1) - 1).clamp_min(0)}
        slots = Slots(self._model.config)
        return slots, self._forward(ids_PL, slots, inputs)

    def read(
        self, memory: Slots, ids_B: Tensor, position_B: Tensor, first_column_B: Tensor, num_columns: int
    ) -> Tensor:
        inputs: dict[str, Tensor] = {}
        if self._has_positions:
            inputs["position_ids"] = position_B[:, None]
            if bool(first_column_B.any()):
                columns = torch.arange(num_columns + 1, device=ids_B.device)
                inputs["attention_mask"] = (columns >= first_column_B[:, None]).long()
        return self._forward(ids_B[:, None], memory, inputs)

    def _forward(self, ids: Tensor, slots: Slots, inputs: dict[str, Tensor]) -> Tensor:
        with self._weights():
            output = self._model(
                input_ids=ids, use_cache=True, logits_to_keep=1, **{self._cache_argument: slots}, **inputs
            )
        logits: Tensor = output.logits[:, -1].float()
        return logits


def _merged_weights(network: GenericNetwork) -> Callable[[], AbstractContextManager[None]]:
    """A context in which the model computes with base and adapter merged, where that is exact enough and worth it.

    Merging copies; the base's own tensors are put back untouched. Not done in bf16, where a merged weight is rounded.
    """
    layers = list(network.lora_layers.values())
    if not all(isinstance(layer, LoraLinear) for layer in layers):
        return nullcontext  # adapters on the stacked weights of a mixture of experts
    bases = [layer.get_base_layer() for layer in layers]
    total = sum(base.weight.numel() for base in bases)
    exact = all(base.weight.dtype == torch.float32 for base in bases)
    if network.adapter_off or total > MERGED_WEIGHTS or not exact:
        return nullcontext
    originals = [base.weight.data for base in bases]
    with torch.no_grad():
        merged = [layer.get_base_layer().weight + layer.get_delta_weight("default") for layer in layers]

    @contextmanager
    def active() -> Iterator[None]:
        before, network.adapter_off = network.adapter_off, True
        for base, weight in zip(bases, merged, strict=True):
            base.weight.data = weight
        try:
            yield
        finally:
            network.adapter_off = before
            for base, weight in zip(bases, originals, strict=True):
                base.weight.data = weight

    return active
