"""The policy: a causal language model with a LoRA adapter on it, its tokenizer and its chat format.

Letters in shapes: B rows, L tokens, V vocabulary.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from fettle_workers.contract.catalogue import BaseModelEntry
from fettle_workers.engine.chat import ChatFormat
from fettle_workers.engine.lora import (
    ALPHA,
    AdapterError,
    LoraSettings,
    read_settings,
    read_tensors,
    write_adapter,
)
from fettle_workers.engine.native.load import load_native
from fettle_workers.engine.network import BaseNetwork, ModelError, Network
from fettle_workers.engine.placement import ALONE, Parallelism, Placement
from fettle_workers.engine.processes import Processes


@dataclass
class Policy:
    """Base and adapter in one torch module. The base is frozen; the adapter's tensors are fp32."""

    network: Network
    tokenizer: PreTrainedTokenizerFast
    chat: ChatFormat
    device: torch.device
    lora: LoraSettings
    placement: Placement = ALONE

    @property
    def context_size(self) -> int:
        """Longest sequence in tokens, prompt and completion; a model without a limit says 2**31 - 1."""
        return self.network.context_size

    @property
    def hidden_size(self) -> int:
        return self.network.hidden_size

    @property
    def num_logits(self) -> int:
        """Logits per token: at least as many as the tokenizer has ids."""
        return self.network.num_logits

    @property
    def is_base(self) -> bool:
        """Whether the adapter changes nothing, as before the first update: every B is zero."""
        matrices = (tensor for name, tensor in self.network.parameters.items() if name.endswith("lora_B.weight"))
        return not any(bool(tensor.any()) for tensor in matrices)

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Inside, the policy is its base: the adapter is off."""
        before = self.network.adapter_off
        self.network.adapter_off = True
        try:
            yield
        finally:
            self.network.adapter_off = before

    def logits(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Forward pass without cache, differentiable in the adapter.

        Args:
            ids_BL: token ids; any valid id where the mask is 0.
            mask_BL: 1 for tokens, 0 for padding, which may stand left or right. Every row has at least one token.

        Returns:
            [B, L, V] fp32; meaningless where the mask is 0.
        """
        return self.network.logits(ids_BL, mask_BL)

    def parameters(self) -> dict[str, nn.Parameter]:
        """The trainable tensors, sorted by name; names as in the adapter file."""
        return self.network.parameters

    def adapter_tensors(self) -> dict[str, Tensor]:
        """Copies of the adapter's tensors, on the CPU, sorted by name."""
        return {name: parameter.detach().to("cpu", copy=True) for name, parameter in self.network.parameters.items()}

    def set_adapter_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Copy values into the adapter in place; the parameters stay the same objects.

        Raises:
            AdapterError: a name or a shape differs from this policy's adapter.
        """
        _check_same_tensors(self.network.parameters, tensors)
        with torch.no_grad():
            for name, parameter in self.network.parameters.items():
                parameter.copy_(tensors[name])

    def save_adapter(self, folder: Path) -> str:
        """Write a plain PEFT folder (two files) and return its digest. Equal adapters give equal bytes."""
        return write_adapter(folder, self.lora, self.adapter_tensors())

    def load_adapter(self, folder: Path) -> None:
        """Copy the weights of a folder with the same rank, alpha and modules into this policy.

        Raises:
            AdapterError: the folder is not a plain LoRA adapter of this shape and of this base model.
        """
        _check_same_settings(self.lora, read_settings(folder))
        self.set_adapter_tensors(read_tensors(folder))

    @cached_property
    def base_digest(self) -> str:
        """SHA-256 (hex) over names, types, shapes and bytes of the base's weights, adapter excluded."""
        total = hashlib.sha256()
        for name, tensor in self.network.base_tensors():
            plain = tensor.detach().cpu().contiguous()
            total.update(f"{name}\0{plain.dtype}\0{tuple(plain.shape)}\n".encode())
            total.update(plain.flatten().view(torch.uint8).numpy())
        return total.hexdigest()


def resolve_source(entry: BaseModelEntry) -> str | Path:
    """Where the files of a catalogue entry are: a folder, or the id of a hub repository.

    Raises:
        ModelError: a bundled model that this installation does not have.
    """
    kind, _, name = entry.source.partition(":")
    if kind == "bundled":
        folder = Path(__file__).parents[1] / "base_models" / name
        if not folder.is_dir():
            raise ModelError(f"bundled model {name!r} is not in this installation: {folder} does not exist")
        return folder
    path = Path(entry.source).expanduser()
    return path if path.is_absolute() or path.is_dir() else entry.source


@dataclass(frozen=True)
class Base:
    """A base model without any adapter, as loaded: the start of one policy, or of several that share its weights."""

    network: BaseNetwork
    tokenizer: PreTrainedTokenizerFast
    chat: ChatFormat
    model_id: str
    device: torch.device
    placement: Placement = ALONE

    def new_adapter(self, *, rank: int = 16, alpha: int = ALPHA, seed: int = 0) -> Policy:
        """A policy whose adapter changes nothing: B = 0. A is drawn from `seed` on the CPU, so that the same seed
        gives the same tensors on every device."""
        settings = LoraSettings(rank, alpha, self.network.linear_names, self.model_id)
        policy = self._policy(settings)
        _initialise(policy, seed)
        return policy

    def with_adapter(self, folder: Path) -> Policy:
        """A policy with the adapter of a folder; rank, alpha and modules are the folder's.

        Raises:
            AdapterError: the folder is not a plain LoRA adapter of this base.
        """
        settings = read_settings(folder)
        if settings.base_model_id != self.model_id:
            raise AdapterError(f"adapter was trained on {settings.base_model_id!r}, the base is {self.model_id!r}")
        policy = self._policy(settings)
        policy.set_adapter_tensors(read_tensors(folder))
        return policy

    def _policy(self, settings: LoraSettings) -> Policy:
        return Policy(
            network=self.network.adapted(settings),
            tokenizer=self.tokenizer,
            chat=self.chat,
            device=self.device,
            lora=settings,
            placement=self.placement,
        )


def load_policy(
    source: str | Path,
    *,
    base_model_id: str,
    lora_rank: int = 16,
    lora_alpha: int = ALPHA,
    adapter: Path | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    seed: int = 0,
    revision: str | None = None,
    processes: Processes | None = None,
    parallelism: Parallelism = "auto",
) -> Policy:
    """Load a base model and put a LoRA adapter on every linear layer of its blocks: a new one, or a folder's.

    Args:
        source: a folder (a `Path`), or the id of a hub repository (a `str`); safetensors only.
        base_model_id: the catalogue's name of the base; what the adapter's files call it.
        adapter: folder to continue from. Its own rank, alpha and modules are used instead of the arguments.
        dtype: of the base; None means fp32 on the CPU, else bf16. The adapter and the output head compute in fp32.
        processes: those that load the same policy at the same time, to train it together; None: this one alone.
        parallelism: whether each of them holds the whole base ("ddp") or a part ("fsdp").

    Raises:
        ModelError: no such model, no safetensors, an architecture that transformers does not know, or too large a base.
        AdapterError: `adapter` does not fit the base.
    """
    base = load_base(
        source,
        base_model_id=base_model_id,
        device=device,
        dtype=dtype,
        revision=revision,
        processes=processes,
        parallelism=parallelism,
    )
    if adapter is not None:
        return base.with_adapter(adapter)
    return base.new_adapter(rank=lora_rank, alpha=lora_alpha, seed=seed)


def load_base(
    source: str | Path,
    *,
    base_model_id: str,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    processes: Processes | None = None,
    parallelism: Parallelism = "auto",
) -> Base:
    """Load a base model and its tokenizer; arguments and errors as in `load_policy`."""
    if isinstance(source, Path):
        _check_folder(source)
    device = torch.device(device)
    torch_dtype = _torch_dtype(dtype, device)
    tokenizer = _load_tokenizer(source, revision=revision)
    options = {"dtype": torch_dtype, "device": device, "revision": revision}
    options |= {"processes": processes or Processes(), "parallelism": parallelism}
    native = load_native(source, **options)
    if native is not None:
        network, generation, placement = native
        return Base(network, tokenizer, ChatFormat.of(tokenizer, generation), base_model_id, device, placement)
    # Imported here: transformers' model code and PEFT take seconds, and the native decoder needs neither.
    from fettle_workers.engine.generic.network import load_generic

    generic, placement = load_generic(source, **options)
    chat = ChatFormat.of(tokenizer, generic.model.generation_config)
    return Base(generic, tokenizer, chat, base_model_id, device, placement)


def use_threads(num_threads: int = 1) -> None:
    """Set how many threads torch computes with. One by default: on a small machine that does other work, two threads
    wait for each other and were measured 4 times slower than one."""
    torch.set_num_threads(num_threads)


def _torch_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    if dtype is None:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    named = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(named, torch.dtype) or not named.is_floating_point:
        raise ModelError(f"dtype {dtype!r} of the base model: expected 'float32' or 'bfloat16'")
    return named


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelError(f"base model folder {folder} does not exist")
    if not any(folder.glob("*.safetensors")):
        found = sorted(path.name for path in folder.iterdir() if path.suffix in {".bin", ".pt", ".pth", ".ckpt"})
        also = f"; {', '.join(found)} would run code when loaded, convert them" if found else ""
        raise ModelError(f"base model folder {folder} has no *.safetensors file{also}")


def _load_tokenizer(source: str | Path, *, revision: str | None) -> PreTrainedTokenizerFast:
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            source, revision=revision or "main", trust_remote_code=False, local_files_only=isinstance(source, Path)
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"tokenizer of {source}: {error}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelError(f"tokenizer of {source}: needs tokenizer.json; {type(tokenizer).__name__} is not a fast one")
    return tokenizer


def _initialise(policy: Policy, seed: int) -> None:
    """A as PEFT draws it (uniform, bound 1/sqrt(inputs)), but from our own generator; B zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in policy.parameters().items():
        values = torch.zeros(parameter.shape)
        if name.endswith("lora_A.weight"):
            bound = 1 / math.sqrt(parameter.shape[1])
            values.uniform_(-bound, bound, generator=generator)
        parameter.data.copy_(values)


def _check_same_tensors(expected: dict[str, nn.Parameter], found: dict[str, Tensor]) -> None:
    if expected.keys() != found.keys():
        missing, extra = sorted(expected.keys() - found.keys())[:3], sorted(found.keys() - expected.keys())[:3]
        raise AdapterError(f"the adapter's tensors do not fit the model: missing {missing}, unexpected {extra}")
    for name, parameter in expected.items():
        if parameter.shape != found[name].shape:
            shapes = f"{tuple(found[name].shape)}, expected {tuple(parameter.shape)}"
            raise AdapterError(f"adapter tensor {name} has shape {shapes}")


def _check_same_settings(expected: LoraSettings, found: LoraSettings) -> None:
    if expected != found:
        raise AdapterError(f"the adapter does not fit the policy: found {found}, expected {expected}")
