"""The base models on offer, from the operator's `models.toml` and the bundled one."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from django.conf import settings

from fettle_workers.contract.catalogue import BaseModelEntry, embedding_model, load_catalogue, load_reward_models


def catalogue() -> dict[str, BaseModelEntry]:
    """Id -> entry. Read once per process.

    Raises:
        ValueError: the operator's file is not a catalogue; the message names file and field.
    """
    return _loaded(settings.FETTLE.models_file)


def reward_models() -> list[str]:
    """Names of the reward models that workers have. Read once per process."""
    return _loaded_reward_models(settings.FETTLE.models_file)


def has_embeddings() -> bool:
    """Whether workers have an embedding model, as far as this host's file and packages tell."""
    return embedding_model(settings.FETTLE.models_file) is not None


@lru_cache(maxsize=4)
def _loaded_reward_models(path: Path | None) -> list[str]:
    return list(load_reward_models(path))


@lru_cache(maxsize=4)
def _loaded(path: Path | None) -> dict[str, BaseModelEntry]:
    return load_catalogue(path)
