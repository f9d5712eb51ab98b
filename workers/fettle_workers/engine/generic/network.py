"""A network of transformers with PEFT's LoRA layers: the way for architectures that `native` does not compute.

Letters in shapes: B rows, L tokens, N loss tokens, H hidden size, V vocabulary.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from fettle_workers.engine.generic.padding import padded_microbatches
from fettle_workers.engine.generic.prefix import shared_hidden
from fettle_workers.engine.generic.reader import GenericReader
from fettle_workers.engine.lora import AdapterError, LoraSettings
from fettle_workers.engine.network import ModelError
from fettle_workers.engine.placement import BaseSize, Parallelism, Placement, choose_placement
from fettle_workers.engine.processes import Processes
from fettle_workers.engine.sequences import Microbatch, TokenSequence

_ADAPTER = "default"
# Settings by which an architecture changes its logits after the head.
_SCALED_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")
# Linear layers whose forward is never called, because the model multiplies with their weight itself, and those that
# PEFT refuses on such models. An adapter there would never be trained.
_NEVER_ADAPTED = {
    "mamba": {"dt_proj", "out_proj"},
    "falcon_mamba": {"dt_proj", "out_proj"},
    "mamba2": {"out_proj"},
    "falcon_h1": {"out_proj"},
    "nemotron_h": {"out_proj"},
}


class GenericBase:
    """A causal language model of transformers, frozen."""

    def __init__(self, model: PreTrainedModel) -> None:
        model.eval()  # nothing here drops out or updates statistics; some models compute differently in train mode
        model.requires_grad_(False)
        if model.dtype != torch.float32:
            _compute_head_in_fp32(model)
        self.model = model

    @cached_property
    def linear_names(self) -> tuple[str, ...]:
        """Without the output head. Raises ModelError when there is none."""
        head = self.model.get_output_embeddings()
        names = {
            name.rpartition(".")[2]
            for name, module in self.model.named_modules()
            if isinstance(module, nn.Linear | Conv1D) and module is not head
        }
        names -= _NEVER_ADAPTED.get(self.model.config.model_type, set())
        if not names:
            raise ModelError(f"architecture {self.model.config.model_type!r} has no linear layer to put an adapter on")
        return tuple(sorted(names))

    def adapted(self, settings: LoraSettings) -> GenericNetwork:
        return GenericNetwork(_inject(_twin(self.model), settings))


def load_generic(
    source: str | Path,
    *,
    dtype: torch.dtype,
    device: torch.device,
    revision: str | None,
    processes: Processes,
    parallelism: Parallelism,
) -> tuple[GenericBase, Placement]:
    """Raises ModelError: no such model, an architecture that transformers does not know, or one that is too large to
    stand whole in every process."""
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=dtype,
            revision=revision or "main",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=isinstance(source, Path),
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"base model {source}: {error}") from error
    size = BaseSize(sum(p.numel() * p.itemsize for p in model.parameters()), 0, num_blocks=1)
    placement = choose_placement(parallelism, processes, size, device, can_shard=False)
    return GenericBase(model.to(device)), placement


class GenericNetwork:
    """See `Network`."""

    def __init__(self, model: PeftModel) -> None:
        self.model = model
        config = self.base.config.get_text_config(decoder=True)
        self.hidden_size = int(config.hidden_size)
        self.num_logits = int(self.base.get_output_embeddings().weight.shape[0])
        self.context_size = int(getattr(config, "max_position_embeddings", None) or 2**31 - 1)
        self._adapter_off = False

    @property
    def base(self) -> PreTrainedModel:
        """The transformers model inside, its linear layers wrapped by PEFT."""
        return self.model.get_base_model()

    @property
    def adapter_off(self) -> bool:
        return self._adapter_off

    @adapter_off.setter
    def adapter_off(self, off: bool) -> None:
        # PeftModel.disable_adapter does the same and, per call, walks every module to report on it.
        self._adapter_off = off
        for layer in self.lora_layers.values():
            layer._disable_adapters = off

    @cached_property
    def lora_layers(self) -> dict[str, LoraLayer]:
        """The adapted linear layers by name, sorted."""
        found = {name: module for name, module in self.model.named_modules() if isinstance(module, LoraLayer)}
        return dict(sorted(found.items()))

    @cached_property
    def parameters(self) -> dict[str, nn.Parameter]:
        named = {}
        for name, layer in self.lora_layers.items():
            named[f"{name}.lora_A.weight"] = layer.lora_A[_ADAPTER].weight
            named[f"{name}.lora_B.weight"] = layer.lora_B[_ADAPTER].weight
        return dict(sorted(named.items()))

    def base_tensors(self) -> Iterator[tuple[str, Tensor]]:
        found = {name.replace(".base_layer", ""): tensor for name, tensor in self.base.state_dict().items()}
        return ((name, found[name]) for name in sorted(found) if ".lora_" not in name)

    def logits(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        inputs = {} if bool(mask_BL.all()) else self._padded_inputs(mask_BL)
        return self.base(input_ids=ids_BL, use_cache=False, **inputs).logits.float()

    def _padded_inputs(self, mask_BL: Tensor) -> dict[str, Tensor]:
        if not self._takes_positions:
            return {"attention_mask": mask_BL}
        positions_BL = (mask_BL.long().cumsum(-1) - 1).clamp_min(0)
        # Under a causal mask no token sees padding to its right, so such a batch needs no mask and runs the fast path.
        if bool((mask_BL[:, 1:] <= mask_BL[:, :-1]).all()):
            return {}
        return {"attention_mask": mask_BL, "position_ids": positions_BL}

    @cached_property
    def _takes_positions(self) -> bool:
        """Whether the architecture has token positions (attention) rather than only a recurrent state (Mamba)."""
        return "position_ids" in inspect.signature(self.base.forward).parameters

    def microbatches(self, sequences: Sequence[TokenSequence]) -> Iterator[Microbatch]:
        return padded_microbatches(sequences, self.base.device)

    def loss_hidden(self, batch: Microbatch) -> Tensor:
        """Hidden states [N, H], or the logits [N, V] of architectures that change them after the head."""
        inputs = batch.inputs
        predicted_BL = inputs.loss_BL[:, 1:]
        if not self._has_plain_head:
            return self.logits(inputs.ids_BL, inputs.mask_BL)[:, :-1][predicted_BL]
        if inputs.shared is not None and self.can_share:
            return shared_hidden(self.base, inputs.shared)
        masks = {} if self._takes_positions else {"attention_mask": inputs.mask_BL}
        output = self.base.base_model(input_ids=inputs.ids_BL, use_cache=False, **masks)
        hidden: Tensor = output.last_hidden_state[:, :-1][predicted_BL]
        return hidden

    def head(self, hidden: Tensor) -> Tensor:
        return self.base.get_output_embeddings()(hidden).float() if self._has_plain_head else hidden

    @cached_property
    def _has_plain_head(self) -> bool:
        """Whether logits are the head's output and nothing more, so that the head can run on the loss tokens alone."""
        config = self.base.config.get_text_config(decoder=True)
        scaled = any(getattr(config, name, None) not in (None, 1, 1.0) for name in _SCALED_LOGITS)
        return not scaled and self.base.base_model is not self.base

    @cached_property
    def can_share(self) -> bool:
        """Whether every layer attends to the whole past, so that keys and values of a prompt may be reused as they
        are."""
        config = self.base.config.get_text_config(decoder=True)
        kinds = getattr(config, "layer_types", None) or ["full_attention"]
        windows = getattr(config, "sliding_window", None) if not getattr(config, "layer_types", None) else None
        return self._takes_positions and set(kinds) == {"full_attention"} and not windows

    def reader(self) -> GenericReader:
        return GenericReader(self)


def _compute_head_in_fp32(model: PreTrainedModel) -> None:
    """Logits of a bf16 model differ in the second digit when the head rounds them; sampler and learner must agree."""
    head: Any = model.get_output_embeddings()
    weight = head.weight.detach().float()
    bias = None if getattr(head, "bias", None) is None else head.bias.detach().float()

    def forward(hidden: Tensor) -> Tensor:
        nonlocal weight, bias
        if weight.device != hidden.device:
            weight, bias = weight.to(hidden.device), None if bias is None else bias.to(hidden.device)
        return nn.functional.linear(hidden.float(), weight, bias)

    head.forward = forward


def _twin(model: PreTrainedModel) -> PreTrainedModel:
    """The same model in new module objects: the tensors are shared, what PEFT does to the modules is not."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


def _inject(base: PreTrainedModel, settings: LoraSettings) -> PeftModel:
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        target_modules=list(settings.target_modules),
        task_type=TaskType.CAUSAL_LM,
    )
    try:
        model = get_peft_model(base, config)
    except ValueError as error:
        raise AdapterError(f"the adapter's modules do not fit the base model: {error}") from error
    model.eval()
    return model
