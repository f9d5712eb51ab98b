"""The base's tensors, fused where one input feeds several layers, and the adapter's tensors on top of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from fettle_workers.engine.lora import AdapterError, LoraSettings
from fettle_workers.engine.native.architecture import Architecture
from fettle_workers.engine.native.layers import Layer, Linear, Share

# Fused linear layers and their parts, in the order of the fused outputs.
_FUSED = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
LINEAR_NAMES = tuple(sorted(name.rpartition(".")[2] for parts in _FUSED.values() for name in parts))


class Weights:
    """The frozen base. A fused layer is one tensor; transformers' names stand for slices of it, not for copies.

    Attributes:
        tensors: every weight by transformers' name, the head also where it is tied.
        head: the head's weight in fp32: sampler and learner would else differ by what rounding it takes away.
    """

    def __init__(self, sizes: Architecture, tensors: dict[str, Tensor]) -> None:
        """`tensors` are those that `sizes.shapes` lists, in one type and on one device. The dict is emptied, so that
        a large base is not in memory twice."""
        self.sizes = sizes
        self.tensors: dict[str, Tensor] = {}
        self.layers = [self._layer(number, tensors) for number in range(sizes.num_layers)]
        self.tensors |= tensors
        tensors.clear()
        self.embedding = self.tensors["model.embed_tokens.weight"]
        self.norm = self.tensors["model.norm.weight"]
        self.head = self.tensors.setdefault("lm_head.weight", self.embedding).float()

    def _layer(self, number: int, tensors: dict[str, Tensor]) -> Layer:
        prefix = f"model.layers.{number}."
        norms = None
        if self.sizes.norms_heads:
            of_query = tensors[prefix + "self_attn.q_norm.weight"].expand(self.sizes.num_heads, -1)
            of_key = tensors[prefix + "self_attn.k_norm.weight"].expand(self.sizes.num_kv_heads, -1)
            norms = torch.cat([of_query, of_key])
        return Layer(
            attention_norm=tensors[prefix + "input_layernorm.weight"],
            heads_norm=norms,
            mlp_norm=tensors[prefix + "post_attention_layernorm.weight"],
            **{
                fused: Linear(
                    self._fuse(tensors, [f"{prefix}{part}.weight" for part in parts]),
                    self._fuse(tensors, [f"{prefix}{part}.bias" for part in parts])
                    if f"{prefix}{parts[0]}.bias" in tensors
                    else None,
                )
                for fused, parts in _FUSED.items()
            },
        )

    def _fuse(self, tensors: dict[str, Tensor], names: list[str]) -> Tensor:
        parts = [tensors.pop(name) for name in names]
        fused = torch.cat(parts) if len(parts) > 1 else parts[0]
        self.tensors |= dict(zip(names, fused.split([len(part) for part in parts]), strict=True))
        return fused


@dataclass(frozen=True)
class Adapter:
    """LoRA tensors in fp32 on some linear layers of a base. Names as PEFT writes them."""

    parameters: dict[str, nn.Parameter]
    scale: float

    @classmethod
    def on(cls, weights: Weights, settings: LoraSettings) -> Adapter:
        """An adapter whose tensors are not initialised.

        Raises:
            AdapterError: a module that the base does not have.
        """
        unknown = sorted(set(settings.target_modules) - set(LINEAR_NAMES))
        if unknown:
            raise AdapterError(
                f"the adapter's modules do not fit the base model: {', '.join(unknown)} is not among "
                f"{', '.join(LINEAR_NAMES)}"
            )
        found = {}
        for name, tensor in weights.tensors.items():
            module, _, kind = name.rpartition(".")
            if kind != "weight" or module.rpartition(".")[2] not in settings.target_modules:
                continue
            outputs, inputs = tensor.shape
            for part, shape in (("A", (settings.rank, inputs)), ("B", (outputs, settings.rank))):
                empty = torch.empty(shape, device=tensor.device)
                found[f"base_model.model.{module}.lora_{part}.weight"] = nn.Parameter(empty)
        return cls(dict(sorted(found.items())), settings.alpha / settings.rank)

    def on_layers(self, weights: Weights, *, merged: bool) -> list[Layer]:
        """The base's layers with the adapter as it is now: merged into copies of the pristine weights, or beside
        them. Differentiable in the adapter either way."""
        layers = []
        for number, layer in enumerate(weights.layers):
            changed = {}
            for fused, names in _FUSED.items():
                shares = self._shares(weights, [f"model.layers.{number}.{name}" for name in names])
                linear: Linear = getattr(layer, fused)
                weight = _merge(linear.weight, shares) if merged and shares else linear.weight
                changed[fused] = Linear(weight, linear.bias, shares, is_merged=merged)
            layers.append(replace(layer, **changed))
        return layers

    def _shares(self, weights: Weights, modules: list[str]) -> tuple[Share, ...]:
        first, shares = 0, []
        for module in modules:
            rows = slice(first, first + len(weights.tensors[f"{module}.weight"]))
            first = rows.stop
            name = f"base_model.model.{module}.lora_"
            if f"{name}A.weight" in self.parameters:
                a, b = self.parameters[f"{name}A.weight"], self.parameters[f"{name}B.weight"]
                shares.append(Share(rows, a, b, self.scale))
        return tuple(shares)


@torch.no_grad()
def _merge(weight: Tensor, shares: tuple[Share, ...]) -> Tensor:
    """Laid out by inputs and not by outputs: products with few rows then take two thirds of the time on a CPU."""
    merged = weight.t().clone(memory_format=torch.contiguous_format)
    for share in shares:
        merged[:, share.rows].addmm_(share.a.t(), share.b.t(), alpha=share.scale)
    return merged.t()


def read_base(folder: Path, shapes: dict[str, tuple[int, ...]], dtype: torch.dtype) -> dict[str, Tensor] | None:
    """Read a base's safetensors files; None when their tensors are not exactly those of `shapes`.

    Besides those, the head of a tied model and the rotation's frequencies in old checkpoints may be there; they are
    left out.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        files = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    else:
        files = ["model.safetensors"]
    if not all((folder / file).is_file() for file in files):
        return None
    found = {}
    for file in files:
        with safe_open(folder / file, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 (not a dict)
                if name in shapes and tuple(stored.get_slice(name).get_shape()) == shapes[name]:
                    found[name] = stored.get_tensor(name).to(dtype)
                elif name != "lm_head.weight" and not name.endswith("rotary_emb.inv_freq"):
                    return None
    return found if found.keys() == shapes.keys() else None
