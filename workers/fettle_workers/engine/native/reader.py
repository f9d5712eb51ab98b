"""The sampler's half of the native decoder: prompts, then token by token with keys and values kept.

Letters in shapes: P prompts, B rows, L tokens, C columns, N query heads, M key heads, D head size, H hidden size,
V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from fettle_workers.engine.native.attention import attend
from fettle_workers.engine.native.layers import block, rms_norm, rotation
from fettle_workers.engine.native.packing import pack_rows

if TYPE_CHECKING:  # the network makes its reader
    from fettle_workers.engine.native.network import NativeNetwork

_ROOM = 64  # columns that a fresh memory has to spare at most; it then grows by half


class KeyValues:
    """Keys and values of running rows: one buffer [2, B, M, D, C] a layer, with more columns than are used.

    Rows are aligned on the right: the newest token of every row stands in the last used column. A decode step writes
    one column and copies nothing. The columns are the last dimension because both products of a step then read whole
    lines of them: on a CPU that halves the time of its attention.
    """

    def __init__(self, layers: list[Tensor], num_columns: int) -> None:
        self.layers = layers
        self.num_columns = num_columns

    def append(self, layer: int, k_BMD: Tensor, v_BMD: Tensor) -> tuple[Tensor, Tensor]:
        """Write the next column of a layer; returns its keys and values [B, M, D, C] so far, that column included."""
        buffer, column = self.layers[layer], self.num_columns
        if column == buffer.shape[-1]:
            buffer = self.layers[layer] = _with_room(buffer, column + 1)
        buffer[0, ..., column] = k_BMD
        buffer[1, ..., column] = v_BMD
        return buffer[0, ..., : column + 1], buffer[1, ..., : column + 1]

    def select(self, rows: Tensor, *, first_column: int = 0) -> None:
        """Keep the given rows (an index may repeat) and drop the columns before `first_column`."""
        for number, buffer in enumerate(self.layers):
            self.layers[number] = buffer[..., first_column:].index_select(1, rows)
        self.num_columns -= first_column

    def join(self, other: KeyValues) -> None:
        """Append the other's rows, right-aligned."""
        length = max(self.num_columns, other.num_columns)
        for number, (mine, theirs) in enumerate(zip(self.layers, other.layers, strict=True)):
            self.layers[number] = torch.cat(
                [
                    functional.pad(part[..., :used], (length - used, max(_ROOM, length // 2)))
                    for part, used in ((mine, self.num_columns), (theirs, other.num_columns))
                ],
                dim=1,
            )
        self.num_columns = length


def _with_room(buffer: Tensor, num_columns: int) -> Tensor:
    return functional.pad(buffer, (0, num_columns + max(_ROOM, num_columns // 2) - buffer.shape[-1]))


class NativeReader:
    """See `Reader`. The adapter is taken as it is when the reader is made: merged with a copy of a small fp32 base,
    beside the base otherwise."""

    pads_prompts = True

    @torch.no_grad()
    def __init__(self, network: NativeNetwork) -> None:
        self._network = network
        self._sizes = network.weights.sizes
        self._layers = network.layers(merged=network.may_merge)

    def read_prompts(self, ids_PL: Tensor, first_column_P: Tensor, *, room: int) -> tuple[KeyValues, Tensor]:
        sizes, (num_prompts, length) = self._sizes, ids_PL.shape
        used_PL = torch.arange(length, device=ids_PL.device) >= first_column_P[:, None]
        packed = pack_rows(ids_PL, used_PL)
        cells_T = used_PL.flatten().nonzero()[:, 0]  # of each packed token
        buffers = []

        def attention(q_TND: Tensor, k_TMD: Tensor, v_TMD: Tensor) -> Tensor:
            cells = k_TMD.new_zeros((2, num_prompts * length, *k_TMD.shape[1:]))
            cells[0].index_copy_(0, cells_T, k_TMD)
            cells[1].index_copy_(0, cells_T, v_TMD)
            spare = min(max(room, 1), _ROOM)
            columns = cells.unflatten(1, (num_prompts, length)).permute(0, 1, 3, 4, 2)
            buffers.append(functional.pad(columns, (0, spare)))
            return attend(q_TND, k_TMD, v_TMD, packed.buckets)

        x_TH = functional.embedding(packed.ids_T, self._network.weights.embedding)
        turn = rotation(packed.positions_T, sizes, x_TH.dtype)
        for layer in self._layers:
            x_TH = block(x_TH, layer, sizes, turn, attention)
        return KeyValues(buffers, length), self._logits(x_TH.index_select(0, packed.predicts_N))

    def read(
        self, memory: KeyValues, ids_B: Tensor, position_B: Tensor, first_column_B: Tensor, num_columns: int
    ) -> Tensor:
        sizes = self._sizes
        x_BH = functional.embedding(ids_B, self._network.weights.embedding)
        turn = rotation(position_B, sizes, x_BH.dtype)
        hidden_B11C = None
        if bool(first_column_B.any()):
            columns = torch.arange(num_columns + 1, device=ids_B.device)
            hidden_B11C = (columns < first_column_B[:, None])[:, None, None]
        for number, layer in enumerate(self._layers):

            def attention(q_BND: Tensor, k_BMD: Tensor, v_BMD: Tensor, number: int = number) -> Tensor:
                return _attend_to_past(q_BND, *memory.append(number, k_BMD, v_BMD), hidden_B11C)

            x_BH = block(x_BH, layer, sizes, turn, attention)
        memory.num_columns += 1
        return self._logits(x_BH)

    def _logits(self, x_BH: Tensor) -> Tensor:
        return self._network.head(rms_norm(x_BH, self._network.weights.norm, self._sizes.norm_eps))


def _attend_to_past(q_BND: Tensor, k_BMDC: Tensor, v_BMDC: Tensor, hidden_B11C: Tensor | None) -> Tensor:
    """One query per row and head over all columns; [B, N * D]."""
    num_rows, num_keys, size, num_columns = k_BMDC.shape
    q = (q_BND * size**-0.5).reshape(num_rows * num_keys, -1, size)
    scores = torch.bmm(q, k_BMDC.flatten(0, 1)).float()
    if hidden_B11C is not None:
        scores.view(num_rows, num_keys, -1, num_columns).masked_fill_(hidden_B11C, -torch.inf)
    return torch.bmm(scores.softmax(-1).to(q.dtype), v_BMDC.flatten(0, 1).transpose(1, 2)).reshape(num_rows, -1)
