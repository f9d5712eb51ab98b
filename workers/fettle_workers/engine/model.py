"""The policy: a causal language model of any architecture in transformers, with a LoRA adapter of PEFT on it.

Letters in shapes: B rows, L tokens, V vocabulary.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast
from transformers.pytorch_utils import Conv1D

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

_ADAPTER = "default"
# Linear layers whose forward is never called, because the model multiplies with their weight itself, and those that
# PEFT refuses on such models. An adapter there would never be trained.
_NEVER_ADAPTED = {
    "mamba": {"dt_proj", "out_proj"},
    "falcon_mamba": {"dt_proj", "out_proj"},
    "mamba2": {"out_proj"},
    "falcon_h1": {"out_proj"},
    "nemotron_h": {"out_proj"},
}


class ModelError(Exception):
    """The base model cannot be loaded. The operator must act: the message says what was found and expected."""


@dataclass
class Policy:
    """Base and adapter in one torch module. The base is frozen; the adapter's tensors are fp32."""

    model: PeftModel
    tokenizer: PreTrainedTokenizerFast
    chat: ChatFormat
    device: torch.device
    lora: LoraSettings
    _adapter_off: bool = field(default=False, repr=False)

    @property
    def base(self) -> PreTrainedModel:
        """The transformers model inside, its linear layers wrapped by PEFT."""
        return self.model.get_base_model()

    @property
    def adapter_is_off(self) -> bool:
        return self._adapter_off

    @property
    def context_size(self) -> int:
        """Longest sequence in tokens, prompt and completion; a model without a limit says 2**31 - 1."""
        config = self.base.config.get_text_config(decoder=True)
        return int(getattr(config, "max_position_embeddings", None) or 2**31 - 1)

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Inside, the policy is its base: the adapter is off."""
        before = self._adapter_off
        self._set_adapter_off(True)
        try:
            yield
        finally:
            self._set_adapter_off(before)

    def _set_adapter_off(self, off: bool) -> None:
        # PeftModel.disable_adapter does the same and, per call, walks every module to report on it.
        self._adapter_off = off
        for layer in self.lora_layers.values():
            layer._disable_adapters = off

    def logits(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Forward pass without cache, differentiable in the adapter.

        Args:
            ids_BL: token ids; any valid id where the mask is 0.
            mask_BL: 1 for tokens, 0 for padding, which may stand left or right. Every row has at least one token.

        Returns:
            [B, L, V] fp32; meaningless where the mask is 0.
        """
        inputs = {} if bool(mask_BL.all()) else self._padded_inputs(mask_BL)
        return self.base(input_ids=ids_BL, use_cache=False, **inputs).logits.float()

    def _padded_inputs(self, mask_BL: Tensor) -> dict[str, Tensor]:
        if not self.takes_positions:
            return {"attention_mask": mask_BL}
        positions_BL = (mask_BL.long().cumsum(-1) - 1).clamp_min(0)
        # Under a causal mask no token sees padding to its right, so such a batch needs no mask and runs the fast path.
        if bool((mask_BL[:, 1:] <= mask_BL[:, :-1]).all()):
            return {}
        return {"attention_mask": mask_BL, "position_ids": positions_BL}

    @cached_property
    def takes_positions(self) -> bool:
        """Whether the architecture has token positions (attention) rather than only a recurrent state (Mamba)."""
        return "position_ids" in inspect.signature(self.base.forward).parameters

    @cached_property
    def lora_layers(self) -> dict[str, LoraLayer]:
        """The adapted linear layers by name, sorted."""
        found = {name: module for name, module in self.model.named_modules() if isinstance(module, LoraLayer)}
        return dict(sorted(found.items()))

    def parameters(self) -> dict[str, nn.Parameter]:
        """The trainable tensors, sorted by name; names as in the adapter file."""
        return dict(self._parameters)

    @cached_property
    def _parameters(self) -> dict[str, nn.Parameter]:
        named = {}
        for name, layer in self.lora_layers.items():
            named[f"{name}.lora_A.weight"] = layer.lora_A[_ADAPTER].weight
            named[f"{name}.lora_B.weight"] = layer.lora_B[_ADAPTER].weight
        return dict(sorted(named.items()))

    def adapter_tensors(self) -> dict[str, Tensor]:
        """Copies of the adapter's tensors, on the CPU, sorted by name."""
        return {name: parameter.detach().to("cpu", copy=True) for name, parameter in self._parameters.items()}

    def set_adapter_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Copy values into the adapter in place; the parameters stay the same objects.

        Raises:
            AdapterError: a name or a shape differs from this policy's adapter.
        """
        _check_same_tensors(self._parameters, tensors)
        with torch.no_grad():
            for name, parameter in self._parameters.items():
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
        for name, tensor in sorted(self.base.state_dict().items()):
            if ".lora_" in name:
                continue
            plain = tensor.detach().cpu().contiguous()
            total.update(f"{name.replace('.base_layer', '')}\0{plain.dtype}\0{tuple(plain.shape)}\n".encode())
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

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    chat: ChatFormat
    model_id: str
    device: torch.device

    def new_adapter(self, *, rank: int = 16, alpha: int = ALPHA, seed: int = 0) -> Policy:
        """A policy whose adapter changes nothing: B = 0. A is drawn from `seed` on the CPU, so that the same seed
        gives the same tensors on every device."""
        settings = LoraSettings(rank, alpha, _linear_names(self.model), self.model_id)
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
            model=_inject(_twin(self.model), settings),
            tokenizer=self.tokenizer,
            chat=self.chat,
            device=self.device,
            lora=settings,
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
) -> Policy:
    """Load a base model and put a LoRA adapter on every linear layer of its blocks: a new one, or a folder's.

    Args:
        source: a folder (a `Path`), or the id of a hub repository (a `str`); safetensors only.
        base_model_id: the catalogue's name of the base; what the adapter's files call it.
        adapter: folder to continue from. Its own rank, alpha and modules are used instead of the arguments.
        dtype: of the base; None means fp32 on the CPU, else bf16. The adapter and the output head compute in fp32.

    Raises:
        ModelError: no such model, no safetensors, or an architecture that transformers does not know.
        AdapterError: `adapter` does not fit the base.
    """
    base = load_base(source, base_model_id=base_model_id, device=device, dtype=dtype, revision=revision)
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
) -> Base:
    """Load a base model and its tokenizer; arguments and errors as in `load_policy`."""
    device = torch.device(device)
    model = _load_model(source, dtype=_torch_dtype(dtype, device), revision=revision).to(device)
    tokenizer = _load_tokenizer(source, revision=revision)
    return Base(model, tokenizer, ChatFormat.of(tokenizer, model.generation_config), base_model_id, device)


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


def _load_model(source: str | Path, *, dtype: torch.dtype, revision: str | None) -> PreTrainedModel:
    if isinstance(source, Path):
        _check_folder(source)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=dtype,
            revision=revision or "main",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=isinstance(source, Path),
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"base model {source}: {error}") from error
    model.eval()  # nothing here drops out or updates statistics; some models compute differently in train mode
    model.requires_grad_(False)
    if dtype != torch.float32:
        _compute_head_in_fp32(model)
    return model


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


def _compute_head_in_fp32(model: PreTrainedModel) -> None:
    """Logits of a bf16 model differ in the second digit when the head rounds them; sampler and learner must agree."""
    head = model.get_output_embeddings()
    weight = head.weight.detach().float()
    bias = None if getattr(head, "bias", None) is None else head.bias.detach().float()

    def forward(hidden: Tensor) -> Tensor:
        nonlocal weight, bias
        if weight.device != hidden.device:
            weight, bias = weight.to(hidden.device), None if bias is None else bias.to(hidden.device)
        return nn.functional.linear(hidden.float(), weight, bias)

    head.forward = forward


def _linear_names(model: PreTrainedModel) -> tuple[str, ...]:
    """Last parts of the names of every linear layer, without the output head."""
    head = model.get_output_embeddings()
    names = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }
    names -= _NEVER_ADAPTED.get(model.config.model_type, set())
    if not names:
        raise ModelError(f"architecture {model.config.model_type!r} has no linear layer to put an adapter on")
    return tuple(sorted(names))


def _twin(model: PreTrainedModel) -> PreTrainedModel:
    """The same model in new module objects: the tensors are shared, what PEFT does to the modules is not."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


def _inject(base: PreTrainedModel, settings: LoraSettings) -> PeftModel:
    try:
        model = get_peft_model(base, settings.peft_config())
    except ValueError as error:
        raise AdapterError(f"the adapter's modules do not fit the base model: {error}") from error
    model.eval()
    return model


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
