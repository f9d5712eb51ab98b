"""Which models the native decoder computes, and their sizes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

_FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
# The kinds of rotary embedding whose frequencies do not hang on the length of the sequence.
_ROTATIONS = frozenset({"default", "linear", "llama3", "yarn"})


@dataclass(frozen=True)
class Architecture:
    """Sizes of a decoder of the Llama family with full causal attention in every layer."""

    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    context_size: int
    norm_eps: float
    norms_heads: bool  # Qwen3: an RMS norm on every query and key
    biases: frozenset[str]  # the linear layers that have one
    is_tied: bool  # the head is the embedding
    frequencies: Tensor  # [head_dim / 2], radians per position
    rotation_scale: float  # of cosine and sine

    @classmethod
    def of(cls, config: Any) -> Architecture | None:
        """Read a configuration of transformers; None when this decoder does not compute all of it.

        Args:
            config: any `PreTrainedConfig`; one class per family, of which only the fields are used.
        """
        rotation = getattr(config, "rope_parameters", None) or {}
        kind = rotation.get("rope_type")
        is_plain = (
            config.model_type in _FAMILIES
            and config.hidden_act == "silu"
            and getattr(config, "quantization_config", None) is None
            and kind in _ROTATIONS
            and rotation.get("partial_rotary_factor", 1.0) == 1.0
            and set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
            and _sees_everything(config)
        )
        if not is_plain:
            return None
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        frequencies, scale = _frequencies(config, kind, head_dim)
        return cls(
            num_layers=config.num_hidden_layers,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_heads=config.num_attention_heads,
            num_kv_heads=config.num_key_value_heads,
            head_dim=head_dim,
            vocab_size=config.vocab_size,
            context_size=config.max_position_embeddings,
            norm_eps=config.rms_norm_eps,
            norms_heads=config.model_type == "qwen3",
            biases=_biases(config),
            is_tied=bool(config.tie_word_embeddings),
            frequencies=frequencies,
            rotation_scale=scale,
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of the base by its name in transformers; a tied head is not listed."""
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocab_size, self.hidden_size),
            "model.norm.weight": (self.hidden_size,),
        }
        if not self.is_tied:
            shapes["lm_head.weight"] = (self.vocab_size, self.hidden_size)
        for layer in range(self.num_layers):
            shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in self.shapes_of_block.items()}
        return shapes

    @cached_property
    def shapes_of_block(self) -> dict[str, tuple[int, ...]]:
        """The tensors of one block, without what its names begin with."""
        hidden, inner = self.hidden_size, self.intermediate_size
        queries, keys = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        linear = {
            "self_attn.q_proj": (queries, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, queries),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
        shapes: dict[str, tuple[int, ...]] = {
            "input_layernorm.weight": (hidden,),
            "post_attention_layernorm.weight": (hidden,),
        }
        if self.norms_heads:
            shapes["self_attn.q_norm.weight"] = (self.head_dim,)
            shapes["self_attn.k_norm.weight"] = (self.head_dim,)
        for name, (outputs, inputs) in linear.items():
            shapes[f"{name}.weight"] = (outputs, inputs)
            if name.rpartition(".")[2] in self.biases:
                shapes[f"{name}.bias"] = (outputs,)
        return shapes


def _sees_everything(config: Any) -> bool:
    """No window narrower than the context. Mistral's applies whenever it is set, Qwen's through `layer_types`."""
    window = getattr(config, "sliding_window", None)
    return config.model_type != "mistral" or window is None or window >= config.max_position_embeddings


def _biases(config: Any) -> frozenset[str]:
    if config.model_type == "qwen2":
        return frozenset({"q_proj", "k_proj", "v_proj"})
    attention = {"q_proj", "k_proj", "v_proj", "o_proj"} if getattr(config, "attention_bias", False) else set()
    mlp = {"gate_proj", "up_proj", "down_proj"} if getattr(config, "mlp_bias", False) else set()
    return frozenset(attention | mlp)


def _frequencies(config: Any, kind: str, head_dim: int) -> tuple[Tensor, float]:
    if kind == "default":  # written out in every model class of transformers; the scaled kinds are in one table
        return 1.0 / (config.rope_parameters["rope_theta"] ** (torch.arange(0, head_dim, 2).float() / head_dim)), 1.0
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    frequencies, scale = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
    return frequencies.float(), float(scale)
