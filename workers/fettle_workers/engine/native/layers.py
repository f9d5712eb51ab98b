"""The parts of a block: linear layers with their adapter, norm, rotation by position.

Letters in shapes: T tokens (rows of any batch), H hidden size, N heads (queries, or queries and keys), D head size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fettle_workers.engine.native.architecture import Architecture

# Queries [T, N, D], keys and values [T, M, D] of one layer -> [T, N * D].
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Share:
    """The adapter on one part of a fused layer: A [r, in] and B [outputs, r], fp32; `scale` multiplies B @ A."""

    rows: slice
    a: Tensor
    b: Tensor
    scale: float


@dataclass(frozen=True)
class Linear:
    """`x @ weight.T + bias`; layers that read the same input are fused along their outputs.

    The adapter's shares are either merged into the weight, which is then a constant to autograd, or computed beside it.
    """

    weight: Tensor
    bias: Tensor | None
    shares: tuple[Share, ...] = ()
    is_merged: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        if not self.shares or (self.is_merged and not torch.is_grad_enabled()):
            return functional.linear(x, self.weight, self.bias)
        if self.is_merged:
            y: Tensor = _Merged.apply(x, self, *(tensor for share in self.shares for tensor in (share.a, share.b)))
            return y
        y = functional.linear(x, self.weight, self.bias)
        wide = x.float()
        parts = {
            share.rows.start: functional.linear(functional.linear(wide, share.a), share.b * share.scale)
            for share in self.shares
        }
        first, pieces = 0, []
        for share in self.shares:
            pieces += [y[..., first : share.rows.start], (y[..., share.rows] + parts[share.rows.start]).to(y.dtype)]
            first = share.rows.stop
        return torch.cat([*pieces, y[..., first:]], -1)


class _Merged(torch.autograd.Function):
    """A product with the merged weight. The gradients of A and B come from products of the adapter's rank: through the
    weight's own gradient they would cost as much again as the forward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, linear: Linear, *_: Tensor) -> Tensor:
        ctx.linear = linear
        ctx.save_for_backward(x)
        return functional.linear(x, linear.weight, linear.bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        linear, (x,) = ctx.linear, ctx.saved_tensors
        shares = linear.shares
        through_a = functional.linear(x, torch.cat([share.a for share in shares])).split(
            [len(share.a) for share in shares], -1
        )
        of_parts = [gradient[:, share.rows] for share in shares]
        through_b = torch.cat([part @ share.b for part, share in zip(of_parts, shares, strict=True)], -1)
        of_a = (through_b.t() @ x).split([len(share.a) for share in shares])
        found: list[Tensor | None] = [gradient @ linear.weight if ctx.needs_input_grad[0] else None, None]
        for share, part, inner, da in zip(shares, of_parts, through_a, of_a, strict=True):
            found += [da * share.scale, (inner.t() @ part).t() * share.scale]
        return tuple(found)


@dataclass(frozen=True)
class Layer:
    """The weights of one block as a forward pass uses them."""

    attention_norm: Tensor
    qkv: Linear
    heads_norm: Tensor | None  # [queries and keys, D]
    o: Linear
    mlp_norm: Tensor
    gate_up: Linear
    down: Linear

    @property
    def linears(self) -> tuple[Linear, ...]:
        return self.qkv, self.o, self.gate_up, self.down

    def for_few_rows(self) -> Layer:
        """Merged weights laid out by inputs: products with few rows then take two thirds of the time on a CPU."""
        if not self.qkv.is_merged:
            return self
        qkv, o, gate_up, down = (replace(one, weight=one.weight.t().contiguous().t()) for one in self.linears)
        return replace(self, qkv=qkv, o=o, gate_up=gate_up, down=down)


def block(x: Tensor, layer: Layer, sizes: Architecture, turn: tuple[Tensor, Tensor], attention: Attention) -> Tensor:
    """One block on the residual stream [T, H]; `turn` is what `rotation` gives for its positions."""
    num_queries, num_keys = sizes.num_heads, sizes.num_kv_heads
    heads = layer.qkv(rms_norm(x, layer.attention_norm, sizes.norm_eps)).unflatten(-1, (-1, sizes.head_dim))
    turned, values = heads.split([num_queries + num_keys, num_keys], 1)
    if layer.heads_norm is not None:
        turned = rms_norm(turned, layer.heads_norm, sizes.norm_eps)
    turned = rotate(turned, *turn)
    queries, keys = turned.split([num_queries, num_keys], 1)
    x = x + layer.o(attention(queries, keys, values))
    return x + layer.down(swiglu(layer.gate_up(rms_norm(x, layer.mlp_norm, sizes.norm_eps))))


def rotation(positions_T: Tensor, sizes: Architecture, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and signed sine [T, 1, D] for `rotate`.

    Source: Su et al. 2021, arXiv:2104.09864, in the half-split layout of the Llama family.
    """
    angles = positions_T[:, None].float() * sizes.frequencies.to(positions_T.device)
    cos, sin = angles.cos() * sizes.rotation_scale, angles.sin() * sizes.rotation_scale
    return torch.cat([cos, cos], -1)[:, None].to(dtype), torch.cat([-sin, sin], -1)[:, None].to(dtype)


def rotate(x: Tensor, cos: Tensor, signed_sin: Tensor) -> Tensor:
    """Turn each pair (i, i + D/2) of [T, N, D] by its angle."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), signed_sin)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMS norm over the last dimension, computed in fp32; no gradient for the weight.

    Source: Zhang & Sennrich 2019, arXiv:1910.07467.
    """
    if torch.is_grad_enabled() and x.requires_grad:
        normed: Tensor = _RmsNorm.apply(x, weight, eps)
        return normed
    return (x * _inverse_rms(x, eps)).to(x.dtype).mul_(weight)


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    """1 / sqrt(mean(x ** 2) + eps) over the last dimension, fp32 [..., 1]."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return norm.square_().mul_(1 / x.shape[-1]).add_(eps).rsqrt_()


class _RmsNorm(torch.autograd.Function):
    """torch's own gradient of this norm takes several times as long on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = _inverse_rms(x, eps)
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).to(x.dtype).mul_(weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        x, weight, scale = ctx.saved_tensors
        inner, wide = (gradient * weight).float(), x.float()
        along = (inner * wide).mean(-1, keepdim=True).mul_(scale.pow(3))
        return inner.mul_(scale).addcmul_(wide, along, value=-1).to(gradient.dtype), None, None


def swiglu(gate_up: Tensor) -> Tensor:
    """`silu(gate) * up` of [T, 2 * I] -> [T, I].

    Source: Shazeer 2020, arXiv:2002.05202.
    """
    if torch.is_grad_enabled() and gate_up.requires_grad:
        product: Tensor = _SwiGlu.apply(gate_up)
        return product
    gate, up = gate_up.chunk(2, -1)
    return functional.silu(gate).mul_(up)


class _SwiGlu(torch.autograd.Function):
    """Keeps its input only, and writes both halves of the gradient in place."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        gate, up = gate_up.chunk(2, -1)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        gate, up = gate_up.chunk(2, -1)
        out = torch.empty_like(gate_up)
        of_gate, of_up = out.chunk(2, -1)
        torch.mul(gradient, up, out=of_gate)
        torch.ops.aten.silu_backward.grad_input(of_gate, gate, grad_input=of_gate)
        torch.mul(gradient, functional.silu(gate), out=of_up)
        return out
