"""A job described by a file and flags, as the arguments of `Fettle.finetune`.

The file is TOML or JSON. Its keys are those arguments, with `hyperparameters` as a table and `grader` a path or a
table; the JSON body of the OpenAI wire works too. Paths in it are relative to the file. Flags win over the file.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fettle.data import FileId, source_of
from fettle.errors import InvalidRequest
from fettle.requests import job_request

KEYS = (
    "model",
    "data",
    "validation",
    "grader",
    "method",
    "response_format",
    "suffix",
    "seed",
    "metadata",
    "validation_split",
    "hyperparameters",
    "preflight",
)


def read_config(path: Path) -> dict[str, Any]:
    """The arguments in a file."""
    text = path.read_text(encoding="utf-8")
    try:
        config = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise InvalidRequest(f"{path} must hold an object, found {type(config).__name__}")
    config = _from_wire(config) if "training_file" in config else config
    for key in config:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            hint = (
                f"Did you mean {near[0]!r}?"
                if near
                else f"Known: {', '.join(KEYS)}. Training fields go below [hyperparameters]."
            )
            raise InvalidRequest(f"{path} has the unknown key {key!r}", fix=hint)
    for key in ("data", "validation", "grader"):
        if isinstance(config.get(key), str):
            config[key] = _beside(path, config[key])
    return config


def job_arguments(config: Mapping[str, Any], flags: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Config, then flags, then `--set`."""
    arguments = {**config, **{name: value for name, value in flags.items() if value is not None}}
    for name in ("model", "data"):
        if name not in arguments:
            raise InvalidRequest(f"--{name} is missing", fix=f"Give --{name}, or `{name}` in the file of -c.")
    if settings:
        arguments["hyperparameters"] = {**arguments.get("hyperparameters", {}), **dict(map(_setting, settings))}
    return arguments


def preview(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The body that would be sent; files to upload stand as `<upload of PATH>`."""
    fields = {name: arguments.get(name) for name in ("grader", "response_format", "suffix", "seed", "metadata")}
    request = job_request(
        model=arguments["model"],
        grader=fields["grader"],
        method=arguments.get("method", "reinforcement"),
        response_format=fields["response_format"],
        suffix=fields["suffix"],
        seed=fields["seed"],
        metadata=fields["metadata"],
        validation_split=arguments.get("validation_split", 0.2),
        hyperparameters=arguments.get("hyperparameters"),
        fields={},
        preflight_id=arguments.get("preflight"),
    )
    validation = arguments.get("validation")
    return request.body(_named(arguments["data"]), None if validation is None else _named(validation))


def _named(data: Any) -> str:
    source = source_of(data, name="data")
    return source.id if isinstance(source, FileId) else f"<upload of {source.path or source.name}>"


def _beside(config: Path, value: str) -> str:
    path = config.parent / value
    return str(path) if path.exists() else value


def _setting(text: str) -> tuple[str, Any]:
    name, found, value = text.partition("=")
    if not found or not name:
        raise InvalidRequest(f"--set takes NAME=VALUE, found {text!r}")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value


def _from_wire(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of POST /fine_tuning/jobs as arguments."""
    method = body.get("method") or {"type": "supervised"}
    kind = method.get("type", "reinforcement")
    inner = method.get(kind) or {}
    found = {
        "data": body["training_file"],
        "validation": body.get("validation_file"),
        "method": kind,
        "grader": inner.get("grader"),
        "response_format": inner.get("response_format"),
        "hyperparameters": inner.get("hyperparameters") or body.get("hyperparameters"),
        "validation_split": (body.get("fettle") or {}).get("validation_split"),
        "preflight": (body.get("fettle") or {}).get("preflight_id"),
        **{name: body.get(name) for name in ("model", "suffix", "seed", "metadata")},
    }
    return {name: value for name, value in found.items() if value is not None}
