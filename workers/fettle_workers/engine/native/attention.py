"""Attention over packed tokens, bucket by bucket.

In fp32 on a CPU plain batched products are used, with their own gradient: the fused kernel's backward pass there takes
twice as long. Elsewhere, and where the scores would be large, torch's fused kernel is.

Letters in shapes: T packed tokens, N query heads, M key heads, D head size, B rows, L queries, S keys.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fettle_workers.engine.native.packing import Bucket

_MAX_SCORES = 2**25  # of one bucket, all heads: 128 MiB


def attend(q_TND: Tensor, k_TMD: Tensor, v_TMD: Tensor, buckets: tuple[Bucket, ...]) -> Tensor:
    """Every token's attention to its prompt and to what came before it; [T, N * D]."""
    largest = max(bucket.queries_BL.numel() * bucket.keys_BS.shape[1] for bucket in buckets) * q_TND.shape[1]
    if q_TND.device.type == "cpu" and q_TND.dtype == torch.float32 and largest <= _MAX_SCORES:
        attended: Tensor = _Plain.apply(q_TND, k_TMD, v_TMD, buckets)
        return attended
    return _fused(q_TND, k_TMD, v_TMD, buckets)


def _fused(q_TND: Tensor, k_TMD: Tensor, v_TMD: Tensor, buckets: tuple[Bucket, ...]) -> Tensor:
    parts = []
    for bucket in buckets:
        q, k, v = (
            x.index_select(0, cells.flatten()).unflatten(0, cells.shape).transpose(1, 2)
            for x, cells in ((q_TND, bucket.queries_BL), (k_TMD, bucket.keys_BS), (v_TMD, bucket.keys_BS))
        )
        seen = None if bucket.hidden_BLS is None else ~bucket.hidden_BLS[:, None]
        out = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=seen, is_causal=seen is None, enable_gqa=q.shape[1] != k.shape[1]
        )
        parts.append(out.transpose(1, 2).flatten(0, 1).index_select(0, bucket.cells_R))
    where = torch.cat([bucket.tokens_R for bucket in buckets])
    return torch.empty_like(q_TND).index_copy(0, where, torch.cat(parts)).flatten(1)


class _Plain(torch.autograd.Function):
    """softmax(q @ k.T / sqrt(D)) @ v for each bucket. Kept for the gradient: q, k, v and the probabilities."""

    @staticmethod
    def forward(ctx: Any, q_TND: Tensor, k_TMD: Tensor, v_TMD: Tensor, buckets: tuple[Bucket, ...]) -> Tensor:
        num_keys, out = k_TMD.shape[1], torch.empty_like(q_TND)
        probabilities = []
        for bucket in buckets:
            q, k, v = _queries(q_TND, bucket, num_keys), _keys(k_TMD, bucket), _keys(v_TMD, bucket)
            scores = torch.bmm(q.mul_(q.shape[-1] ** -0.5), k.transpose(1, 2))
            _hide(scores, bucket, num_keys)
            p = scores.softmax(-1)
            out.index_copy_(0, bucket.tokens_R, _as_tokens(torch.bmm(p, v), bucket, num_keys))
            probabilities.append(p)
        ctx.buckets = buckets
        ctx.save_for_backward(q_TND, k_TMD, v_TMD, *probabilities)
        return out.flatten(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q_TND, k_TMD, v_TMD, *probabilities = ctx.saved_tensors
        num_keys, scale = k_TMD.shape[1], q_TND.shape[-1] ** -0.5
        dq_TND = torch.empty_like(q_TND)
        dk_TMD, dv_TMD = torch.zeros_like(k_TMD), torch.zeros_like(v_TMD)
        gradient_TND = gradient.unflatten(-1, q_TND.shape[1:])
        for bucket, p in zip(ctx.buckets, probabilities, strict=True):
            q, k, v = _queries(q_TND, bucket, num_keys), _keys(k_TMD, bucket), _keys(v_TMD, bucket)
            flat = gradient_TND.new_zeros(bucket.queries_BL.numel(), *q_TND.shape[1:])
            flat.index_copy_(0, bucket.cells_R, gradient_TND.index_select(0, bucket.tokens_R))  # padding has none
            do = _heads_first(flat, bucket.queries_BL.shape, num_keys)
            dp = torch.bmm(do, v.transpose(1, 2))
            ds = torch.ops.aten._softmax_backward_data(dp, p, -1, p.dtype).mul_(scale)
            dq_TND.index_copy_(0, bucket.tokens_R, _as_tokens(torch.bmm(ds, k), bucket, num_keys))
            keys = bucket.keys_BS.flatten()
            dk_TMD.index_add_(0, keys, _as_keys(torch.bmm(ds.transpose(1, 2), q), bucket))
            dv_TMD.index_add_(0, keys, _as_keys(torch.bmm(p.transpose(1, 2), do), bucket))
        return dq_TND, dk_TMD, dv_TMD, None


def _queries(x_TND: Tensor, bucket: Bucket, num_keys: int) -> Tensor:
    """[B * M, N / M * L, D]: the query heads of one key head one after the other."""
    return _heads_first(x_TND.index_select(0, bucket.queries_BL.flatten()), bucket.queries_BL.shape, num_keys)


def _heads_first(x: Tensor, shape: torch.Size, num_keys: int) -> Tensor:
    (num_rows, num_queries), size = shape, x.shape[-1]
    heads = x.view(num_rows, num_queries, num_keys, -1, size).permute(0, 2, 3, 1, 4)
    return heads.reshape(num_rows * num_keys, -1, size)


def _keys(x_TMD: Tensor, bucket: Bucket) -> Tensor:
    """[B * M, S, D]"""
    num_rows, num_cells = bucket.keys_BS.shape
    cells = x_TMD.index_select(0, bucket.keys_BS.flatten()).unflatten(0, (num_rows, num_cells))
    return cells.transpose(1, 2).reshape(-1, num_cells, x_TMD.shape[-1])


def _as_keys(x: Tensor, bucket: Bucket) -> Tensor:
    """The inverse of `_keys` but for the selection: [B * S, M, D]."""
    num_rows, num_cells = bucket.keys_BS.shape
    return x.view(num_rows, -1, num_cells, x.shape[-1]).transpose(1, 2).flatten(0, 1)


def _as_tokens(x: Tensor, bucket: Bucket, num_keys: int) -> Tensor:
    """The inverse of `_queries`, padding left out: [R, N, D]."""
    (num_rows, num_queries), size = bucket.queries_BL.shape, x.shape[-1]
    cells = x.view(num_rows, num_keys, -1, num_queries, size).permute(0, 3, 1, 2, 4)
    return cells.reshape(num_rows * num_queries, -1, size).index_select(0, bucket.cells_R)


def _hide(scores: Tensor, bucket: Bucket, num_keys: int) -> None:
    hidden = bucket.hidden_BLS
    (num_rows, num_queries), num_cells = bucket.queries_BL.shape, bucket.keys_BS.shape[1]
    if hidden is None:
        hidden = torch.ones(num_queries, num_cells, dtype=torch.bool, device=scores.device).triu(1)[None]
    scores.view(num_rows, -1, num_queries, num_cells).masked_fill_(hidden[:, None], -torch.inf)
