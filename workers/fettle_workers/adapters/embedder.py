"""Sentence embeddings with torch: the port `Embedder` of the grader library."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from fettle_graders.errors import GradeFailure

_BATCH = 32
_MAX_TOKENS = 512


class TorchEmbedder:
    """Mean of the last hidden states, of length 1: what sentence-transformers' models are trained for.

    Loaded when first asked. Safe to use from many threads; they take turns. Longer texts are cut at 512 tokens.

    Args:
        folder: Hugging Face model directory with safetensors, such as all-MiniLM-L6-v2.
    """

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        self._folder = folder
        self._device = device
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Raises GradeFailure with `other_error`: the folder holds no model."""
        with self._lock, torch.inference_mode():
            vectors: list[list[float]] = []
            for start in range(0, len(texts), _BATCH):
                vectors += self._vectors(texts[start : start + _BATCH]).tolist()
            return vectors

    def _vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """[number of texts, width], float32."""
        network, tokenizer = self._model
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt")
        batch = batch.to(self._device)
        hidden_BTD = network(**batch).last_hidden_state.float()
        mask_BT1 = batch["attention_mask"].unsqueeze(-1).float()
        return normalize((hidden_BTD * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1), dim=1)

    @cached_property
    def _model(self) -> tuple[Any, Any]:  # transformers' own classes, of any architecture
        try:
            network = AutoModel.from_pretrained(
                self._folder, use_safetensors=True, local_files_only=True, trust_remote_code=False, dtype=torch.float32
            )
            tokenizer = AutoTokenizer.from_pretrained(self._folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            message = f"the embedding model in {self._folder} cannot be loaded: {str(error)[:300]}"
            raise GradeFailure("other_error", message) from error
        return network.to(self._device).eval(), tokenizer
