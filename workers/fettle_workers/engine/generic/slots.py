"""The memory of running sequences: a transformers cache whose rows can be taken out and joined.

Rows are aligned on the right: the newest token of every row stands in the last column, and a shorter row has unused
columns on its left, which the attention mask hides. Attention layers keep keys and values in buffers with room to
grow, so a decode step writes one column instead of copying everything. Sliding-window layers keep all columns too and
leave the window to the mask: more memory on long contexts, but rows of any age can stand in one batch. Layers with a
recurrent state (Mamba) have no columns at all.

Letters in shapes: B rows, H heads, T columns, D head size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PretrainedConfig
from transformers.cache_utils import (
    Cache,
    CacheLayerMixin,
    DummyLayer,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
)

_ROOM = 64  # spare columns of a fresh buffer; it then grows by half


class UnsupportedArchitecture(Exception):
    """The model keeps a kind of memory whose rows this sampler cannot take apart."""


class ColumnLayer(CacheLayerMixin):
    """Keys and values [B, H, T, D] of one attention layer, in buffers with more columns than are used."""

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        self.num_columns = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys = _with_room(key_states[:, :, :0], key_states.shape[2])
        self.values = _with_room(value_states[:, :, :0], value_states.shape[2])
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append columns; returns all used columns as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, end = self.num_columns, self.num_columns + key_states.shape[2]
        if end > self.keys.shape[2]:
            self.keys = _with_room(self.keys[:, :, :start], end)
            self.values = _with_room(self.values[:, :, :start], end)
        self.keys[:, :, start:end] = key_states
        self.values[:, :, start:end] = value_states
        self.num_columns = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.num_columns + query_length, 0

    def get_seq_length(self) -> int:
        return self.num_columns

    def get_max_length(self) -> int:
        return -1

    def select(self, rows: Tensor, first_column: int) -> None:
        """Keep the given rows (an index may repeat) and drop the columns before `first_column`."""
        used = slice(first_column, self.num_columns)
        length = self.num_columns - first_column
        self.keys = _with_room(self.keys[:, :, used].index_select(0, rows), length)
        self.values = _with_room(self.values[:, :, used].index_select(0, rows), length)
        self.num_columns = length

    def join(self, other: ColumnLayer) -> None:
        """Append the other's rows, right-aligned."""
        length = max(self.num_columns, other.num_columns)
        self.keys = _with_room(
            torch.cat([self._aligned(self.keys, length), other._aligned(other.keys, length)]), length
        )
        self.values = _with_room(
            torch.cat([self._aligned(self.values, length), other._aligned(other.values, length)]), length
        )
        self.num_columns = length

    def _aligned(self, tensor: Tensor, length: int) -> Tensor:
        return functional.pad(tensor[:, :, : self.num_columns], (0, 0, length - self.num_columns, 0))


class StateLayer(LinearAttentionLayer):
    """Convolution and recurrent states of one layer, each [B, ...]."""

    def select(self, rows: Tensor, first_column: int) -> None:
        for states in (self.conv_states, self.recurrent_states):
            for index, state in states.items():
                if state is not None:
                    states[index] = state.index_select(0, rows)

    def join(self, other: StateLayer) -> None:
        for mine, theirs in (
            (self.conv_states, other.conv_states),
            (self.recurrent_states, other.recurrent_states),
        ):
            for index, state in mine.items():
                if state is not None:
                    mine[index] = torch.cat([state, theirs[index]])


class Slots(Cache):
    """The cache of a batch of sequences of one model."""

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(layers=[_own_layer(layer) for layer in DynamicCache(config=config).layers])

    def select(self, rows: Tensor, *, first_column: int = 0) -> None:
        for layer in self.layers:
            if not isinstance(layer, DummyLayer):
                layer.select(rows, first_column)

    def join(self, other: Slots) -> None:
        for layer, theirs in zip(self.layers, other.layers, strict=True):
            if not isinstance(layer, DummyLayer):
                layer.join(theirs)


def has_recurrent_state(config: PretrainedConfig) -> bool:
    """Whether some layer carries a state through every token, so that padding in front of a prompt would change it."""
    return any(isinstance(layer, LinearAttentionLayer) for layer in DynamicCache(config=config).layers)


def _own_layer(layer: Any) -> ColumnLayer | StateLayer | DummyLayer:
    if type(layer) in (DynamicLayer, DynamicSlidingWindowLayer):
        return ColumnLayer()
    if type(layer) is LinearAttentionLayer:
        return StateLayer(number_of_states=layer.number_of_states)
    if type(layer) is DummyLayer:
        return layer
    raise UnsupportedArchitecture(f"the sampler cannot batch a model whose cache has {type(layer).__name__} layers")


def _with_room(tensor: Tensor, num_columns: int) -> Tensor:
    """A buffer for `num_columns` and some more that starts with the tensor's columns."""
    capacity = num_columns + max(_ROOM, num_columns // 2)
    buffer = tensor.new_zeros((*tensor.shape[:2], capacity, tensor.shape[3]))
    buffer[:, :, : tensor.shape[2]] = tensor
    return buffer
