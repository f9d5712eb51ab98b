"""Reward models with torch: the port `Scorer` of the grader library."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from fettle_graders.errors import GradeFailure

_BATCH = 16
_DEFAULT_MAX_TOKENS = 4096


class RewardModelError(Exception):
    """The operator must act: a folder that holds no usable reward model."""


class TorchScorer:
    """Loads each model when it is first asked. Safe to use from many threads; they take turns.

    Args:
        folders: name -> Hugging Face model directory with safetensors and a head of one output.
    """

    def __init__(self, folders: Mapping[str, Path], *, device: str = "cpu") -> None:
        self._folders = folders
        self._device = device
        self._loaded: dict[str, RewardModel | RewardModelError] = {}
        self._lock = threading.Lock()

    def score(self, model: str, texts: Sequence[str]) -> list[float]:
        """Raises GradeFailure with `model_grader_server_error`: no such model, or it cannot be loaded."""
        with self._lock:
            if model not in self._loaded:
                self._loaded[model] = self._load(model)
            found = self._loaded[model]
            if isinstance(found, RewardModelError):
                raise GradeFailure("model_grader_server_error", str(found), details=str(found))
            return found.score(texts)

    def _load(self, model: str) -> RewardModel | RewardModelError:
        if model not in self._folders:
            names = ", ".join(sorted(self._folders)) or "none"
            return RewardModelError(f"no reward model is called {model!r}; the catalogue has {names}")
        try:
            return RewardModel.load(self._folders[model], device=self._device)
        except RewardModelError as error:  # it will not be another one at the next completion
            return error


class RewardModel:
    """A sequence-classification model of one output, and its tokenizer."""

    def __init__(self, network: Any, tokenizer: Any) -> None:  # transformers' own classes, of any architecture
        self.network = network
        self.tokenizer = tokenizer
        positions = getattr(network.config, "max_position_embeddings", None) or _DEFAULT_MAX_TOKENS
        self._max_tokens = min(int(positions), _DEFAULT_MAX_TOKENS)
        tokenizer.truncation_side = "left"  # the end is what is judged
        tokenizer.padding_side = "right"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        network.config.pad_token_id = tokenizer.pad_token_id

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu", new_head: bool = False) -> RewardModel:
        """Read a local folder; no code of it runs and nothing is downloaded.

        Args:
            new_head: put a new head on a base model, for training.

        Raises:
            RewardModelError: no such folder, no safetensors, no head, or a head of several outputs.
        """
        if not folder.is_dir():
            raise RewardModelError(f"the reward model's folder {folder} does not exist")
        head = {"num_labels": 1} if new_head else {}
        try:
            network, info = AutoModelForSequenceClassification.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                dtype=torch.float32,
                **head,
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise RewardModelError(f"{folder} holds no model that can be loaded: {str(error)[:300]}") from error
        if info["missing_keys"] and not new_head:
            missing = ", ".join(sorted(info["missing_keys"])[:3])
            raise RewardModelError(
                f"{folder} holds no reward model, as {missing} is missing; train one with "
                "`python -m fettle_workers.reward_models`"
            )
        if network.config.num_labels != 1:
            raise RewardModelError(f"{folder} has a head of {network.config.num_labels} outputs; a reward model has 1")
        return cls(network.to(device).eval(), tokenizer)

    def score(self, texts: Sequence[str]) -> list[float]:
        """The head's output for each text, in their order."""
        scores: list[float] = []
        with torch.inference_mode():
            for start in range(0, len(texts), _BATCH):
                scores += self.logits(texts[start : start + _BATCH]).tolist()
        return scores

    def logits(self, texts: Sequence[str]) -> torch.Tensor:
        """[number of texts], float32."""
        batch = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt"
        ).to(self.network.device)
        logits: torch.Tensor = self.network(**batch).logits
        return logits[:, 0].float()

    def save(self, folder: Path) -> None:
        self.network.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
