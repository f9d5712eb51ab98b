"""Loading a base for the native decoder."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from transformers import AutoConfig, GenerationConfig

from fettle_workers.engine.native.architecture import Architecture
from fettle_workers.engine.native.network import NativeBase
from fettle_workers.engine.native.weights import Weights, open_base
from fettle_workers.engine.network import ModelError
from fettle_workers.engine.placement import BaseSize, Parallelism, Placement, choose_placement
from fettle_workers.engine.processes import Processes

_FILES = ["config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json"]


def load_native(
    source: str | Path,
    *,
    dtype: torch.dtype,
    device: torch.device,
    revision: str | None,
    processes: Processes,
    parallelism: Parallelism,
) -> tuple[NativeBase, GenerationConfig, Placement] | None:
    """The base and its generation settings; None when it is not one that the native decoder computes.

    Raises:
        ModelError: there is no readable model at all, or the processes cannot hold it.
    """
    local = isinstance(source, Path)
    revision = revision or "main"
    try:
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False, local_files_only=local)
        sizes = Architecture.of(config)
        if sizes is None:
            return None
        folder = source if local else Path(snapshot_download(source, revision=revision, allow_patterns=_FILES))
        tensors = open_base(folder, sizes.shapes(), dtype)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"base model {source}: {error}") from error
    if tensors is None:
        return None
    placement = choose_placement(parallelism, processes, _size(sizes, dtype), device)
    tensors.device = device
    shards = None
    if placement.parallelism == "fsdp":
        from fettle_workers.engine.native.shards import Shards

        shards = Shards(processes, device)
    return NativeBase(Weights(sizes, tensors, shards)), _generation(folder, config), placement


def _size(sizes: Architecture, dtype: torch.dtype) -> BaseSize:
    shapes = sizes.shapes()
    of_block = sum(map(math.prod, sizes.shapes_of_block.values()))
    everything = sum(map(math.prod, shapes.values()))
    in_blocks = sizes.num_layers * of_block
    # The head is there a second time in fp32, unless the base is in fp32 itself.
    head = 0 if dtype == torch.float32 else 4 * sizes.vocab_size * sizes.hidden_size
    return BaseSize(
        in_blocks * dtype.itemsize, (everything - in_blocks) * dtype.itemsize + head, num_blocks=sizes.num_layers
    )


def _generation(folder: Path, config: object) -> GenerationConfig:
    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    return GenerationConfig.from_model_config(config)
