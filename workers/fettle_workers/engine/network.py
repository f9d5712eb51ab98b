"""What a policy computes with: one interface, two ways behind it.

`native` computes the Llama family itself; `generic` is transformers and PEFT, for every other architecture.

Letters in shapes: B rows, L tokens, N loss tokens, P prompts, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from fettle_workers.engine.lora import LoraSettings
from fettle_workers.engine.sequences import Microbatch, TokenSequence


class ModelError(Exception):
    """The base model cannot be loaded. The operator must act: the message says what was found and expected."""


class Memory(Protocol):
    """What a network remembers of running sequences. Rows are aligned on their newest column."""

    def select(self, rows: Tensor, *, first_column: int = 0) -> None:
        """Keep the given rows (an index may repeat) and drop the columns before `first_column`."""
        ...

    def join(self, other: Any) -> None:
        """Append the rows of another memory of the same network."""
        ...


class Reader(Protocol):
    """The network as the sampler uses it: reads token by token, without gradient.

    It may hold a copy of base and adapter merged as they were when it was made, or read the adapter at every call:
    make one per adapter version.
    """

    @property
    def pads_prompts(self) -> bool:
        """Whether prompts of different length may be read together."""
        ...

    def read_prompts(self, ids_PL: Tensor, first_column_P: Tensor, *, room: int) -> tuple[Any, Tensor]:
        """Read prompts that are padded on the left; `first_column_P` is where each begins.

        Args:
            room: how many tokens are likely to follow.

        Returns:
            The memory of the prompts, and the logits [P, V] fp32 of their next tokens.
        """
        ...

    def read(self, memory: Any, ids_B: Tensor, position_B: Tensor, first_column_B: Tensor, num_columns: int) -> Tensor:
        """Read one more token per row, which is column `num_columns` of the memory; logits [B, V] fp32 of the next."""
        ...


class Network(Protocol):
    """Base and adapter. The base is frozen; the adapter's tensors are fp32."""

    adapter_off: bool
    hidden_size: int
    num_logits: int
    context_size: int

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The trainable tensors, sorted by name; names as in the adapter file."""
        ...

    def base_tensors(self) -> Iterable[tuple[str, Tensor]]:
        """The base's weights by transformers' names, sorted. One may be there only until the next is asked for."""
        ...

    def logits(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """As `Policy.logits`."""
        ...

    def microbatches(self, sequences: Sequence[TokenSequence]) -> Iterator[Microbatch]:
        """Cut sequences into forward passes of bounded size."""
        ...

    def loss_hidden(self, batch: Microbatch) -> Tensor:
        """What the head needs for the loss tokens only, [N, H], differentiable in the adapter."""
        ...

    def head(self, hidden: Tensor) -> Tensor:
        """Logits [.., V] fp32."""
        ...

    def reader(self) -> Reader: ...


class BaseNetwork(Protocol):
    """A base without adapter; its weights are shared by all networks made from it."""

    @property
    def linear_names(self) -> tuple[str, ...]:
        """Last parts of the names of every linear layer that an adapter may stand on, sorted."""
        ...

    def adapted(self, settings: LoraSettings) -> Network:
        """The base with an adapter whose tensors are not initialised yet.

        Raises:
            AdapterError: the settings name modules that the base does not have.
        """
        ...
