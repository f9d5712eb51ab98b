"""Attention over packed tokens, bucket by bucket.

In fp32 on a CPU plain batched products are used, with their own gradient: the fused kernel's backward pass there takes
twice as long. Elsewhere, and where the scores would be large, torch's fused kernel is.

Letters in shapes: T packed tokens, N query heads, M key heads, D head size, B rows, L queries, S keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fettle_workers.engine.native.packing import Bucket

_MAX_SCORES = 2**25  # of one bucket, all heads: 128 MiB


class Attend:
    """Every token's attention to its prompt and to what came before it: queries [T, N, D], keys and values [T, M, D]
    of a layer -> [T, N * D].

    Made for one forward pass: where the heads of each bucket lie is found out once for all layers.
    """

    def __init__(self, buckets: tuple[Bucket, ...]) -> None:
        self._buckets = buckets
        self._cells: list[_Cells] = []

    def __call__(self, q_TND: Tensor, k_TMD: Tensor, v_TMD: Tensor) -> Tensor:
        size, num_queries = q_TND.shape[:2]
        largest = max(bucket.queries_BL.numel() * bucket.keys_BS.shape[1] for bucket in self._buckets) * num_queries
        if q_TND.device.type != "cpu" or q_TND.dtype != torch.float32 or largest > _MAX_SCORES:
            return _fused(q_TND, k_TMD, v_TMD, self._buckets)
        if not self._cells:
            self._cells = [_Cells.of(bucket, size, num_queries, k_TMD.shape[1]) for bucket in self._buckets]
        attended: Tensor = _Plain.apply(q_TND, k_TMD, v_TMD, self._cells)
        return attended


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


@dataclass(frozen=True)
class _Cells:
    """A bucket by heads: which rows of [T * N, D], or of [T * M, D], its cells are.

    Attributes:
        queries: of each cell in [B, N, L]; the query heads of one key head are neighbours.
        outputs: the same, but T * N and above for padding.
        padding: the cells that are padding.
        keys: of each cell in [B, M, S].
        unseen_B1LS: added to the scores: -inf where a query must not look; B is 1 when it is equal for all rows.
    """

    num_keys: int
    queries: Tensor
    outputs: Tensor
    padding: Tensor
    keys: Tensor
    unseen_B1LS: Tensor

    @classmethod
    def of(cls, bucket: Bucket, num_tokens: int, num_queries: int, num_keys: int) -> _Cells:
        tokens_BL = torch.full_like(bucket.queries_BL, num_tokens)
        tokens_BL.view(-1)[bucket.cells_R] = bucket.tokens_R
        outputs = _by_heads(tokens_BL, num_queries)
        hidden_BLS = bucket.hidden_BLS
        if hidden_BLS is None:
            shape = bucket.queries_BL.shape[1], bucket.keys_BS.shape[1]
            hidden_BLS = torch.ones(shape, dtype=torch.bool, device=tokens_BL.device).triu(1)[None]
        return cls(
            num_keys=num_keys,
            queries=_by_heads(bucket.queries_BL, num_queries),
            outputs=outputs,
            padding=(outputs >= num_tokens * num_queries).nonzero()[:, 0],
            keys=_by_heads(bucket.keys_BS, num_keys),
            unseen_B1LS=torch.zeros(hidden_BLS.shape).masked_fill_(hidden_BLS, -torch.inf)[:, None],
        )

    def take(self, x: Tensor, rows: Tensor) -> Tensor:
        """[B * M, cells of a row and key head, D]"""
        num_rows = len(self.keys) // (self.num_keys * self.unseen_B1LS.shape[-1])
        return x.reshape(-1, x.shape[-1]).index_select(0, rows).view(num_rows * self.num_keys, -1, x.shape[-1])


def _by_heads(tokens_BL: Tensor, num_heads: int) -> Tensor:
    heads = torch.arange(num_heads, device=tokens_BL.device)[:, None]
    return (tokens_BL[:, None] * num_heads + heads).flatten()


class _Plain(torch.autograd.Function):
    """softmax(q @ k.T / sqrt(D)) @ v for each bucket. Kept for the gradient: q, k, v and the probabilities."""

    @staticmethod
    def forward(ctx: Any, q_TND: Tensor, k_TMD: Tensor, v_TMD: Tensor, every: list[_Cells]) -> Tensor:
        (num_tokens, num_queries, size), kept = q_TND.shape, []
        out = q_TND.new_empty(num_tokens + 1, num_queries, size)  # padding goes to the last one
        for cells in every:
            q = cells.take(q_TND, cells.queries).mul_(size**-0.5)
            k, v = cells.take(k_TMD, cells.keys), cells.take(v_TMD, cells.keys)
            scores = torch.bmm(q, k.transpose(1, 2))
            scores.view(-1, num_queries, *cells.unseen_B1LS.shape[2:]).add_(cells.unseen_B1LS)
            p = scores.softmax(-1)
            out.view(-1, size).index_copy_(0, cells.outputs, torch.bmm(p, v).view(-1, size))
            kept += [q, k, v, p]
        ctx.every, ctx.num_tokens = every, num_tokens
        ctx.save_for_backward(*kept)
        return out[:num_tokens].flatten(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        kept, every, num_tokens = ctx.saved_tensors, ctx.every, ctx.num_tokens
        num_keys, size = every[0].num_keys, kept[0].shape[-1]
        gradient_TND = gradient.unflatten(-1, (-1, size))
        dq = gradient.new_empty(gradient_TND.numel() // size + gradient_TND.shape[1], size)
        dk, dv = (gradient.new_zeros(num_tokens * num_keys, size) for _ in range(2))
        for number, cells in enumerate(every):
            q, k, v, p = kept[4 * number : 4 * number + 4]
            do = cells.take(gradient_TND, cells.queries)
            do.view(-1, size).index_fill_(0, cells.padding, 0.0)
            ds = torch.ops.aten._softmax_backward_data(torch.bmm(do, v.transpose(1, 2)), p, -1, p.dtype)
            dq.index_copy_(0, cells.outputs, torch.bmm(ds, k).mul_(size**-0.5).view(-1, size))
            dk.index_add_(0, cells.keys, torch.bmm(ds.transpose(1, 2), q).view(-1, size))
            dv.index_add_(0, cells.keys, torch.bmm(p.transpose(1, 2), do).view(-1, size))
        return dq.view(num_tokens + 1, -1, size)[:num_tokens], *(x.view(num_tokens, -1, size) for x in (dk, dv)), None
