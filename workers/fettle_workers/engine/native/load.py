"""Loading a base for the native decoder."""

from __future__ import annotations

from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from transformers import AutoConfig, GenerationConfig

from fettle_workers.engine.native.architecture import Architecture
from fettle_workers.engine.native.network import NativeBase
from fettle_workers.engine.native.weights import Weights, read_base
from fettle_workers.engine.network import ModelError

_FILES = ["config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json"]


def load_native(
    source: str | Path, *, dtype: torch.dtype, device: torch.device, revision: str | None
) -> tuple[NativeBase, GenerationConfig] | None:
    """The base and its generation settings; None when it is not one that the native decoder computes.

    Raises:
        ModelError: there is no readable model at all.
    """
    local = isinstance(source, Path)
    revision = revision or "main"
    try:
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False, local_files_only=local)
        sizes = Architecture.of(config)
        if sizes is None:
            return None
        folder = source if local else Path(snapshot_download(source, revision=revision, allow_patterns=_FILES))
        tensors = read_base(folder, sizes.shapes(), dtype)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"base model {source}: {error}") from error
    if tensors is None:
        return None
    moved = {name: tensor.to(device) for name, tensor in tensors.items()}
    tensors.clear()
    return NativeBase(Weights(sizes, moved)), _generation(folder, config)


def _generation(folder: Path, config: object) -> GenerationConfig:
    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    return GenerationConfig.from_model_config(config)
