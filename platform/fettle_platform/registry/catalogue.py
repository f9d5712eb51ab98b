"""The base models on offer, from the operator's `models.toml` and the bundled one."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from django.conf import settings

from fettle_workers.contract.catalogue import BaseModelEntry, load_catalogue


def catalogue() -> dict[str, BaseModelEntry]:
    """Id -> entry. Read once per process.

    Raises:
        ValueError: the operator's file is not a catalogue; the message names file and field.
    """
    return _loaded(settings.FETTLE.models_file)


@lru_cache(maxsize=4)
def _loaded(path: Path | None) -> dict[str, BaseModelEntry]:
    return load_catalogue(path)
