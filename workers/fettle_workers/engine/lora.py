"""Adapter folders in PEFT's format: what Fettle writes, and the few forms of it that Fettle reads.

An adapter folder holds `adapter_config.json` and `adapter_model.safetensors`. It may come from a store that others
write to, so reading is strict: plain LoRA only, a bounded rank, no setting that Fettle does not understand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
ADAPTER_FILES = (CONFIG_FILE, WEIGHTS_FILE)
MAX_RANK = 256
ALPHA = 32

# Settings that do not change what the adapter computes, or that `LoraSettings` carries itself.
_IGNORED = frozenset(
    {"r", "lora_alpha", "target_modules", "base_model_name_or_path", "inference_mode", "lora_dropout"}
    | {"init_lora_weights", "peft_version", "revision", "task_type", "auto_mapping", "ensure_weight_tying"}
)


class AdapterError(Exception):
    """An adapter folder is not one that Fettle can load. The message says which file and why."""


@dataclass(frozen=True)
class LoraSettings:
    """The numbers that make a LoRA adapter. `alpha / rank` scales B @ A; plain LoRA, never rank-stabilised."""

    rank: int
    alpha: int
    target_modules: tuple[str, ...]
    base_model_id: str

    def to_json(self) -> str:
        """The text of `adapter_config.json`. Equal settings give equal bytes; nothing of this machine is in it.

        What is left out has PEFT's default, which is plain LoRA; the settings that others read are spelled out.
        """
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": self.base_model_id,
            "inference_mode": True,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "target_modules": sorted(self.target_modules),
            "modules_to_save": None,
            "fan_in_fan_out": False,
            "use_rslora": False,
            "use_dora": False,
        }
        return json.dumps(config, indent=2, sort_keys=True) + "\n"


def read_settings(folder: Path) -> LoraSettings:
    """Read `adapter_config.json`.

    Raises:
        AdapterError: no such file, not LoRA, a rank outside 1 to 256, or a setting of PEFT that changes the result
            and that Fettle does not support (DoRA, rank patterns, extra trained modules, ...).
    """
    path = folder / CONFIG_FILE
    try:
        config: dict[str, Any] = json.loads(path.read_text("utf-8"))
        settings = LoraSettings(
            rank=int(config["r"]),
            alpha=int(config["lora_alpha"]),
            target_modules=tuple(sorted(config["target_modules"])),
            base_model_id=str(config["base_model_name_or_path"]),
        )
    except FileNotFoundError:
        raise AdapterError(f"adapter folder {folder.name} has no {CONFIG_FILE}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdapterError(f"{CONFIG_FILE}: expected a PEFT LoRA configuration, found {error!r}") from error
    if config.get("peft_type") != "LORA":
        raise AdapterError(f"{CONFIG_FILE}: peft_type is {config.get('peft_type')!r}, expected 'LORA'")
    if not 1 <= settings.rank <= MAX_RANK:
        raise AdapterError(f"{CONFIG_FILE}: rank r is {settings.rank}, expected 1 to {MAX_RANK}")
    if isinstance(config["target_modules"], str) or not all(isinstance(m, str) for m in settings.target_modules):
        raise AdapterError(f"{CONFIG_FILE}: target_modules must be a list of module names")
    _refuse_unknown_settings(config)
    return settings


def _refuse_unknown_settings(config: dict[str, Any]) -> None:
    # Imported here: PEFT takes seconds to import, and a job that starts from a base does without it.
    from peft import LoraConfig, TaskType

    plain = LoraConfig(task_type=TaskType.CAUSAL_LM).to_dict()
    for name, value in config.items():
        if name in _IGNORED or not value or value == plain.get(name):
            continue
        raise AdapterError(
            f"{CONFIG_FILE}: setting {name!r} = {value!r} is not supported; Fettle loads plain LoRA only"
        )


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Read `adapter_model.safetensors`: PEFT's names without the adapter name, on the CPU.

    Raises:
        AdapterError: the file is missing or is not a safetensors file.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise AdapterError(f"adapter folder {folder.name} has no {WEIGHTS_FILE}; pickled weights are never loaded")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise AdapterError(f"{WEIGHTS_FILE}: not a safetensors file ({error})") from error


def write_adapter(folder: Path, settings: LoraSettings, tensors: dict[str, torch.Tensor]) -> str:
    """Write the two files of an adapter and return its digest. Equal inputs give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(settings.to_json(), "utf-8")
    on_cpu = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    (folder / WEIGHTS_FILE).write_bytes(save(on_cpu, metadata={"format": "pt"}))
    return adapter_digest(folder)


def adapter_digest(folder: Path) -> str:
    """The digest of an adapter folder: what names it everywhere. Raises AdapterError when a file is missing."""
    digests = {}
    for name in ADAPTER_FILES:
        path = folder / name
        if not path.is_file():
            raise AdapterError(f"adapter folder {folder.name} has no {name}")
        with path.open("rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digest_of_files(digests)


def digest_of_files(sha256_of: Mapping[str, str]) -> str:
    """SHA-256 (hex) over `name \\0 sha256 \\n` of the files in order of name."""
    total = hashlib.sha256()
    for name, digest in sorted(sha256_of.items()):
        total.update(f"{name}\0{digest}\n".encode())
    return total.hexdigest()
