"""The base's tensors, fused where one input feeds several layers, and the adapter's tensors on top of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from safetensors import safe_open
from torch import Tensor, nn

from fettle_workers.engine.lora import AdapterError, LoraSettings
from fettle_workers.engine.native.architecture import Architecture
from fettle_workers.engine.native.layers import Layer, Linear, Share

if TYPE_CHECKING:  # FSDP takes a while to load, and few jobs need it
    from fettle_workers.engine.native.shards import Shards

# Fused linear layers and their parts, in the order of the fused outputs.
_FUSED = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
# Sorted; the blocks' names come before the last of these.
_OUTSIDE_BLOCKS = ("lm_head.weight", "model.embed_tokens.weight", "model.norm.weight")
LINEAR_NAMES = tuple(sorted(name.rpartition(".")[2] for parts in _FUSED.values() for name in parts))


class Tensors(Protocol):
    """A base's tensors by transformers' names, each taken once: a dict, or what is read from files when it is taken."""

    def __contains__(self, name: object, /) -> bool: ...

    def pop(self, name: str, /) -> Tensor: ...


class Weights:
    """The frozen base. A fused layer is one tensor; transformers' names stand for slices of it, not for copies.

    Attributes:
        tensors: every weight by transformers' name, the head also where it is tied. Where blocks are spread over
            processes, theirs have types and shapes only.
        head: the head's weight in fp32: sampler and learner would else differ by what rounding it takes away.
    """

    def __init__(self, sizes: Architecture, tensors: Tensors, shards: Shards | None = None) -> None:
        """`tensors` are those that `sizes.shapes` lists, in one type and, but for shards, on one device. They are taken
        out one by one, so that a large base is not in memory twice."""
        self.sizes, self.shards = sizes, shards
        self.tensors: dict[str, Tensor] = {}
        self.layers: list[Layer] = []
        for number in range(sizes.num_layers):
            layer = self._layer(number, tensors)
            if shards is not None:
                layer = shards.add(layer)
            self.layers.append(layer)
            self.tensors |= self._named(number, layer)
        if shards is not None:
            shards.seal()
        for name in _OUTSIDE_BLOCKS:
            if name in tensors:
                self.tensors[name] = tensors.pop(name)
        self.embedding = self.tensors["model.embed_tokens.weight"]
        self.norm = self.tensors["model.norm.weight"]
        self.head = self.tensors.setdefault("lm_head.weight", self.embedding).float()

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All tensors by name, in order. Where blocks are spread, one is there until the next block's is asked for."""
        *before, last = (name for name in _OUTSIDE_BLOCKS if name in self.tensors)
        yield from ((name, self.tensors[name]) for name in before)
        for number, layer in self._in_order():
            yield from sorted(self._named(number, layer).items())
        yield last, self.tensors[last]

    def _in_order(self) -> Iterator[tuple[int, Layer]]:
        if self.shards is not None:
            return self.shards.whole(self.layers)
        return ((number, self.layers[number]) for number in sorted(range(len(self.layers)), key=str))

    def _layer(self, number: int, tensors: Tensors) -> Layer:
        prefix = f"model.layers.{number}."
        norms = None
        if self.sizes.norms_heads:
            of_query = tensors.pop(prefix + "self_attn.q_norm.weight").expand(self.sizes.num_heads, -1)
            of_key = tensors.pop(prefix + "self_attn.k_norm.weight").expand(self.sizes.num_kv_heads, -1)
            norms = torch.cat([of_query, of_key])
        return Layer(
            attention_norm=tensors.pop(prefix + "input_layernorm.weight"),
            heads_norm=norms,
            mlp_norm=tensors.pop(prefix + "post_attention_layernorm.weight"),
            **{
                fused: Linear(
                    _fused(tensors, [f"{prefix}{part}.weight" for part in parts]),
                    _fused(tensors, [f"{prefix}{part}.bias" for part in parts])
                    if f"{prefix}{parts[0]}.bias" in tensors
                    else None,
                )
                for fused, parts in _FUSED.items()
            },
        )

    def _named(self, number: int, layer: Layer) -> dict[str, Tensor]:
        """The tensors of a block by transformers' names."""
        prefix, shapes = f"model.layers.{number}.", self.sizes.shapes_of_block
        named = {"input_layernorm.weight": layer.attention_norm, "post_attention_layernorm.weight": layer.mlp_norm}
        if layer.heads_norm is not None:
            named["self_attn.q_norm.weight"] = layer.heads_norm[0]
            named["self_attn.k_norm.weight"] = layer.heads_norm[-1]
        for fused, parts in _FUSED.items():
            linear: Linear = getattr(layer, fused)
            for kind, tensor in (("weight", linear.weight), ("bias", linear.bias)):
                if tensor is not None:
                    names = [f"{part}.{kind}" for part in parts]
                    named |= dict(zip(names, tensor.split([shapes[name][0] for name in names]), strict=True))
        return {prefix + name: tensor for name, tensor in named.items()}


def _fused(tensors: Tensors, names: list[str]) -> Tensor:
    parts = [tensors.pop(name) for name in names]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


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
                empty = torch.empty(shape, device=weights.embedding.device)
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
    merged = weight.clone()
    for share in shares:
        merged[share.rows].addmm_(share.b, share.a, alpha=share.scale)
    return merged


class StoredTensors:
    """The tensors of a base in its safetensors files, which are mapped into memory: each is read when it is taken."""

    def __init__(self, files: dict[str, Any], dtype: torch.dtype) -> None:
        self._files, self._dtype = files, dtype
        self.device = torch.device("cpu")  # to which they are taken

    def __contains__(self, name: object, /) -> bool:
        return name in self._files

    def pop(self, name: str, /) -> Tensor:
        stored: Tensor = self._files.pop(name).get_tensor(name)
        return stored.to(self._dtype).to(self.device)


def open_base(folder: Path, shapes: dict[str, tuple[int, ...]], dtype: torch.dtype) -> StoredTensors | None:
    """The tensors in a base's safetensors files; None when they are not exactly those of `shapes`.

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
        stored = safe_open(folder / file, framework="pt")
        for name in stored.keys():  # noqa: SIM118 (not a dict)
            if name in shapes and tuple(stored.get_slice(name).get_shape()) == shapes[name]:
                found[name] = stored
            elif name != "lm_head.weight" and not name.endswith("rotary_emb.inv_freq"):
                return None
    return StoredTensors(found, dtype) if found.keys() == shapes.keys() else None
