"""The sampler's half of the native decoder: prompts, then token by token with keys and values kept.

Letters in shapes: P prompts, B rows, L tokens, C columns, N query heads, M key heads, D head size, H hidden size,
V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from fettle_workers.engine.native.attention import Attend
from fettle_workers.engine.native.layers import Layer, block, rms_norm, rotation
from fettle_workers.engine.native.packing import pack_rows

if TYPE_CHECKING:  # the network makes its reader
    from fettle_workers.engine.native.network import NativeNetwork

_ROOM = 64  # columns that a fresh memory has to spare at most; it then grows by half


class KeyValues:
    """Keys and values of running rows: two buffers a layer, keys [B, M, D, C] and values [B, M, C, D], with more
    columns than are used.

    Rows are aligned on the right: the newest token of every row stands in the last used column. A decode step writes
    one column and copies nothing. The columns stand where both products of a step read whole lines of them: on a CPU
    that halves the time of its attention.
    """

    def __init__(self, layers: list[tuple[Tensor, Tensor]], num_columns: int) -> None:
        self.layers = layers
        self.num_columns = num_columns

    def append(self, layer: int, k_BMD: Tensor, v_BMD: Tensor) -> tuple[Tensor, Tensor]:
        """Write the next column of a layer; returns its keys and values so far, that column included."""
        column = self.num_columns
        if column == self.layers[layer][0].shape[-1]:
            self.layers[layer] = _with_room(self.layers[layer], column, column)
        k_BMDC, v_BMCD = self.layers[layer]
        k_BMDC[..., column] = k_BMD
        v_BMCD[:, :, column] = v_BMD
        return k_BMDC[..., : column + 1], v_BMCD[:, :, : column + 1]

    def select(self, rows: Tensor, *, first_column: int = 0) -> None:
        """Keep the given rows (an index may repeat) and drop the columns before `first_column`."""
        for number, (k_BMDC, v_BMCD) in enumerate(self.layers):
            kept = k_BMDC[..., first_column:].index_select(0, rows), v_BMCD[:, :, first_column:].index_select(0, rows)
            self.layers[number] = kept
        self.num_columns -= first_column

    def join(self, other: KeyValues) -> None:
        """Append the other's rows, right-aligned."""
        length = max(self.num_columns, other.num_columns)
        for number, (mine, theirs) in enumerate(zip(self.layers, other.layers, strict=True)):
            both = _with_room(mine, self.num_columns, length), _with_room(theirs, other.num_columns, length)
            keys, values = (torch.cat(parts) for parts in zip(*both, strict=True))
            self.layers[number] = keys, values
        self.num_columns = length


def _with_room(buffers: tuple[Tensor, Tensor], used: int, length: int) -> tuple[Tensor, Tensor]:
    """Copies of the used columns, aligned on the right of the first `length`, with spare ones behind them."""
    (k_BMDC, v_BMCD), pad = buffers, (length - used, max(_ROOM, length // 2))
    return functional.pad(k_BMDC[..., :used], pad), functional.pad(v_BMCD[:, :, :used], (0, 0, *pad))


class NativeReader:
    """See `Reader`. The adapter is taken as it is when the reader is made: merged with a copy of a small fp32 base,
    beside the base otherwise."""

    pads_prompts = True

    @torch.no_grad()
    def __init__(self, network: NativeNetwork) -> None:
        self._network = network
        self._sizes = network.weights.sizes
        self._layers = [layer.for_few_rows() for layer in network.layers(merged=network.may_merge)]

    def read_prompts(self, ids_PL: Tensor, first_column_P: Tensor, *, room: int) -> tuple[KeyValues, Tensor]:
        sizes, (num_prompts, length) = self._sizes, ids_PL.shape
        used_PL = torch.arange(length, device=ids_PL.device) >= first_column_P[:, None]
        packed = pack_rows(ids_PL, used_PL)
        cells_T = used_PL.flatten().nonzero()[:, 0]  # of each packed token
        attend, buffers = Attend(packed.buckets), list[tuple[Tensor, Tensor]]()

        def attention(q_TND: Tensor, k_TMD: Tensor, v_TMD: Tensor) -> Tensor:
            spare = min(max(room, 1), _ROOM)
            k_PLMD, v_PLMD = (
                x_TMD.new_zeros(num_prompts * length, *x_TMD.shape[1:])
                .index_copy_(0, cells_T, x_TMD)
                .unflatten(0, (num_prompts, length))
                for x_TMD in (k_TMD, v_TMD)
            )
            keys, values = k_PLMD.permute(0, 2, 3, 1), v_PLMD.transpose(1, 2)
            buffers.append((functional.pad(keys, (0, spare)), functional.pad(values, (0, 0, 0, spare))))
            return attend(q_TND, k_TMD, v_TMD)

        x_TH = functional.embedding(packed.ids_T, self._network.weights.embedding)
        turn = rotation(packed.positions_T, sizes, x_TH.dtype)
        x_TH = self._network.through_blocks(
            x_TH, self._layers, lambda x_TH, layer, _: block(x_TH, layer, sizes, turn, attention)
        )
        return KeyValues(buffers, length), self._logits(x_TH.index_select(0, packed.predicts_N))

    def read(
        self, memory: KeyValues, ids_B: Tensor, position_B: Tensor, first_column_B: Tensor, num_columns: int
    ) -> Tensor:
        sizes = self._sizes
        x_BH = functional.embedding(ids_B, self._network.weights.embedding)
        turn = rotation(position_B, sizes, x_BH.dtype)
        unseen_B11C = None  # added to the scores
        if bool(first_column_B.any()):
            columns = torch.arange(num_columns + 1, device=ids_B.device)
            unseen_BC = torch.zeros(len(ids_B), num_columns + 1, device=ids_B.device)
            unseen_BC.masked_fill_(columns < first_column_B[:, None], -torch.inf)
            unseen_B11C = unseen_BC[:, None, None]

        def run(x_BH: Tensor, layer: Layer, number: int) -> Tensor:
            def attention(q_BND: Tensor, k_BMD: Tensor, v_BMD: Tensor) -> Tensor:
                return _attend_to_past(q_BND, *memory.append(number, k_BMD, v_BMD), unseen_B11C)

            return block(x_BH, layer, sizes, turn, attention)

        x_BH = self._network.through_blocks(x_BH, self._layers, run)
        memory.num_columns += 1
        return self._logits(x_BH)

    def _logits(self, x_BH: Tensor) -> Tensor:
        return self._network.head(rms_norm(x_BH, self._network.weights.norm, self._sizes.norm_eps))


def _attend_to_past(q_BND: Tensor, k_BMDC: Tensor, v_BMCD: Tensor, unseen_B11C: Tensor | None) -> Tensor:
    """One query per row and head over all columns; [B, N * D]."""
    num_rows, num_keys, size, num_columns = k_BMDC.shape
    q = (q_BND * size**-0.5).reshape(num_rows * num_keys, -1, size)
    scores = torch.bmm(q, k_BMDC.flatten(0, 1)).float()
    if unseen_B11C is not None:
        scores.view(num_rows, num_keys, -1, num_columns).add_(unseen_B11C)
    return torch.bmm(scores.softmax(-1).to(q.dtype), v_BMCD.flatten(0, 1)).reshape(num_rows, -1)
