"""The catalogue of base models: which ids the platform offers and where a worker finds their files."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import Field

from fettle_workers.contract.spec import Frozen

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
    entries = {BUNDLED: BaseModelEntry(source=f"bundled:{BUNDLED}", description="1 M parameters, bundled")}
    if path is None:
        return entries
    try:
        tables = tomllib.loads(path.read_text("utf-8")).get("models", {})
        return entries | {name: BaseModelEntry(**table) for name, table in tables.items()}
    except (OSError, tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        raise ValueError(f"catalogue of base models {path}: {error}") from error
