"""A base that is too large for one device: every process holds a part of each block (torch's FSDP2).

A block is whole while it computes, the next one on its way by then; embedding, last norm and head stand whole in every
process, for they are used all the time. The base is frozen, so no gradient of it is ever computed or sent. The adapter
is not in these modules: each process holds all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from fettle_workers.engine.native.layers import Layer
from fettle_workers.engine.processes import Processes, Turn

_LINEARS = ("qkv", "o", "gate_up", "down")
_NORMS = ("attention_norm", "heads_norm", "mlp_norm")


class _Block(nn.Module):
    """The tensors of one block. Inside `run` they are whole."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        for name, tensor in _tensors(layer).items():
            self.register_parameter(name, nn.Parameter(tensor, requires_grad=False))

    def forward(self, x: Tensor, run: Callable[[Tensor, dict[str, Tensor]], Tensor]) -> Tensor:
        return run(x, dict(self.named_parameters()))


class _Blocks(nn.Module):
    """All of them, in order: what FSDP takes for the model."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()

    def forward(self, x: Tensor, run: Callable[[Tensor, _Block, int], Tensor]) -> Tensor:
        for number, block in enumerate(self.blocks):
            assert isinstance(block, _Block)
            x = run(x, block, number)
        return x


class Shards:
    """This process's part of every block. `add` them in order, then `seal`, in all processes alike."""

    def __init__(self, processes: Processes, device: torch.device) -> None:
        assert processes.group is not None
        self._processes = processes
        self._mesh = DeviceMesh.from_group(processes.group, device.type)
        self._model = _Blocks()
        self._device = device
        self._idle_x: Tensor | None = None

    def add(self, layer: Layer) -> Layer:
        """Keep this process's part of a block. The whole is on the device meanwhile, and then nowhere.

        Returns:
            The layer with tensors that have types and shapes and no content.
        """
        block = _Block(layer)
        fully_shard(block, mesh=self._mesh, reshard_after_forward=True)
        self._model.blocks.append(block)
        return _filled(layer, {name: tensor.to("meta") for name, tensor in _tensors(layer).items()})

    def seal(self) -> None:
        blocks = self._blocks()
        fully_shard(self._model, mesh=self._mesh)
        # What is fetched ahead is said and not left to FSDP, which would go by the passes that a process made before:
        # those of two processes may differ.
        for number, block in enumerate(blocks):
            block.set_modules_to_forward_prefetch(blocks[number + 1 : number + 2])
            block.set_modules_to_backward_prefetch([blocks[max(0, number - 1)]])
        for block in blocks:  # FSDP keeps what it makes now; made under inference mode it could not be learned with
            block.unshard()
            block.reshard()
        self._processes.make_passes_together(self._stand_in)

    @property
    def num_bytes(self) -> int:
        """What this process holds of the blocks."""
        return sum(p.to_local().untyped_storage().nbytes() for p in self._model.parameters())  # type: ignore[attr-defined]

    def addresses(self) -> set[int]:
        """Of the storages of what is whole now."""
        tensors = (p for p in self._model.parameters() if type(p) is nn.Parameter)
        return {tensor.untyped_storage().data_ptr() for tensor in tensors}

    def through_blocks(self, x: Tensor, layers: Sequence[Layer], run: Callable[[Tensor, Layer, int], Tensor]) -> Tensor:
        """See `NativeNetwork.through_blocks`: a pass of all processes."""

        def run_block(x: Tensor, block: _Block, number: int) -> Tensor:
            y: Tensor = block(x, lambda x, tensors: run(x, _filled(layers[number], tensors), number))
            return y

        with self._turn(Turn.FORWARD):
            x = self._model(x, run_block)
        if x.requires_grad:
            x = _Backward.apply(x, self._processes)
        return x

    def whole(self, layers: Sequence[Layer]) -> Iterator[tuple[int, Layer]]:
        """Copies of the blocks one by one, in the order of their names."""
        with self._turn(Turn.READ):
            for number, block in self._read():
                copies = {name: tensor.detach().clone() for name, tensor in block.named_parameters()}
                yield number, _filled(layers[number], copies)

    def _read(self) -> Iterator[tuple[int, _Block]]:
        blocks = self._blocks()
        for number in sorted(range(len(blocks)), key=str):
            blocks[number].unshard()
            yield number, blocks[number]
            blocks[number].reshard()

    @contextmanager
    def _turn(self, turn: Turn) -> Iterator[None]:
        self._processes.begin(turn)
        yield
        self._processes.end()  # not after an error: the others wait for what was not done

    def _stand_in(self, turn: Turn) -> None:
        """What the others do, on nothing: the same parts are sent in the same order."""
        if turn is Turn.FORWARD:
            with torch.enable_grad():  # whether a backward pass comes is not known yet
                x = torch.zeros(1, device=self._device, requires_grad=True)
                self._idle_x = self._model(x, lambda x, block, _: block(x, lambda x, _: x * 1))
        elif turn is Turn.BACKWARD:
            assert self._idle_x is not None, "a backward pass comes after a forward pass"
            self._idle_x.sum().backward()  # type: ignore[no-untyped-call]
            self._idle_x = None
        else:
            for _ in self._read():
                pass

    def _blocks(self) -> list[Any]:
        """Each is a `_Block` and, since it was sharded, an `FSDPModule`."""
        return list(self._model.blocks)


class _Backward(torch.autograd.Function):
    """Nothing but where the backward pass enters the blocks: before any part is asked for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, processes: Processes) -> Tensor:
        ctx.processes = processes
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.processes.begin(Turn.BACKWARD)
        torch.autograd.Variable._execution_engine.queue_callback(ctx.processes.end)  # when the whole pass is over
        return gradient, None


def _tensors(layer: Layer) -> dict[str, Tensor]:
    found = {name: getattr(layer, name) for name in _NORMS}
    for name in _LINEARS:
        linear = getattr(layer, name)
        found |= {f"{name}_weight": linear.weight, f"{name}_bias": linear.bias}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def _filled(layer: Layer, tensors: dict[str, Tensor]) -> Layer:
    """The same layer, its adapter too, with these tensors of the base."""
    norms = {name: tensors.get(name) for name in _NORMS}
    linears = {
        name: replace(getattr(layer, name), weight=tensors[f"{name}_weight"], bias=tensors.get(f"{name}_bias"))
        for name in _LINEARS
    }
    return replace(layer, **norms, **linears)  # type: ignore[arg-type]
