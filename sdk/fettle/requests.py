"""Requests as plain values. Nothing here touches the network; the sync and the async client send what is built here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict
from urllib.parse import quote

from fettle import graders
from fettle.errors import InvalidRequest

STREAM_HEADERS = {"Accept": "application/zip", "X-Stainless-Raw-Response": "stream"}

# Above this the file goes in parts (`/uploads`), so that a broken connection costs one part.
CHUNKED_ABOVE_BYTES = 256 << 20

ROLLOUT_PAGE_SIZE = 1000

# A longer list of rows for the grader lab is uploaded as a file.
MAX_INLINE_ROWS = 500

Auto = Literal["auto"]
Method = Literal["reinforcement", "supervised"]


class Hyperparameters(TypedDict, total=False):
    """The training fields. Every one is `"auto"` unless given; the job shows what auto resolved to."""

    n_epochs: int | Auto
    batch_size: int | Auto
    learning_rate_multiplier: float | Auto
    compute_multiplier: float | Auto
    eval_interval: int | Auto
    eval_samples: int | Auto
    reasoning_effort: Literal["default", "low", "medium", "high"]
    group_size: int | Auto
    max_completion_tokens: int | Auto
    temperature: float | Auto
    lora_rank: int | Auto
    updates_per_rollout: int | Auto
    kl_coef: float | Auto
    length_penalty: float | Auto
    max_steps: int | Auto
    early_stopping: bool | Auto


@dataclass(frozen=True)
class JobRequest:
    """A fine-tuning job before its files have ids."""

    model: str
    method: dict[str, Any]
    suffix: str | None = None
    seed: int | None = None
    metadata: dict[str, str] | None = None
    validation_split: float | None = None
    fettle: dict[str, Any] = field(default_factory=dict)

    def body(self, training_file: str, validation_file: str | None) -> dict[str, Any]:
        """The JSON that goes over the wire."""
        fields = {
            "model": self.model,
            "training_file": training_file,
            "validation_file": validation_file,
            "method": self.method,
            "suffix": self.suffix,
            "seed": self.seed,
            "metadata": self.metadata,
        }
        body = {name: value for name, value in fields.items() if value is not None}
        extra = dict(self.fettle)
        if validation_file is None and self.validation_split is not None:
            extra["validation_split"] = self.validation_split
        return {**body, "fettle": extra} if extra else body


def job_request(
    *,
    model: str,
    grader: Mapping[str, Any] | str | Path | None,
    method: Method,
    response_format: Mapping[str, Any] | None,
    suffix: str | None,
    seed: int | None,
    metadata: Mapping[str, str] | None,
    validation_split: float | None,
    hyperparameters: Mapping[str, Any] | None,
    fields: Mapping[str, Any],
    preflight_id: str | None = None,
) -> JobRequest:
    """Check what can be checked offline and build the request.

    Raises:
        InvalidRequest: a reinforcement job without a grader, a supervised one with a grader, or a field given twice.
        TypeError: a keyword that is no training field.
    """
    if method == "reinforcement" and grader is None:
        raise InvalidRequest(
            "a reinforcement job needs a grader", fix='Pass grader=..., or method="supervised" to imitate the rows.'
        )
    if method == "supervised" and (grader is not None or response_format is not None):
        raise InvalidRequest("a supervised job takes no grader and no response_format", fix="Leave them out.")
    settings: dict[str, Any] = {}
    if grader is not None:
        settings["grader"] = grader_of(grader)
    if response_format is not None:
        settings["response_format"] = dict(response_format)
    if merged := merge_hyperparameters(hyperparameters, fields):
        settings["hyperparameters"] = merged
    return JobRequest(
        model=model,
        method={"type": method, method: settings},
        suffix=suffix,
        seed=seed,
        metadata=dict(metadata) if metadata else None,
        validation_split=validation_split,
        fettle={"preflight_id": preflight_id} if preflight_id else {},
    )


def preflight_body(
    request: JobRequest,
    training_file: str,
    validation_file: str | None,
    *,
    num_rows: int | None,
    samples_per_row: int | None,
    pass_threshold: float | None,
) -> dict[str, Any]:
    """The body of a job, and how much to ask. The server fills in what is left out."""
    own = {"num_rows": num_rows, "samples_per_row": samples_per_row, "pass_threshold": pass_threshold}
    return request.body(training_file, validation_file) | {k: v for k, v in own.items() if v is not None}


def grader_of(grader: Mapping[str, Any] | str | Path) -> dict[str, Any] | str:
    """A definition, or the id of a stored grader or version as it is."""
    if isinstance(grader, str) and grader.startswith(("grader-", "gradr-")):
        return grader
    return graders.load(grader)


def answer_source(source: Mapping[str, Any] | str, gold: str | None) -> dict[str, Any]:
    """Where the lab's answers come from; in short `"reference"`, the id of a job or preflight, or a model's name."""
    if isinstance(source, Mapping):
        return dict(source)
    if source == "reference":
        if gold is None:
            raise InvalidRequest(
                'the source "reference" needs `gold`, which writes the answers', fix='gold="{{item.answer}}"'
            )
        return {"type": "reference", "template": gold}
    if source.startswith(("ftjob-", "preflight-")):
        return {"type": "job", "job_id": source}
    return {"type": "base", "model": source}


def lab_body(grader: Mapping[str, Any] | str | Path, rows: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """A request of the grader lab, without what was left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    return {"grader": grader_of(grader), **rows, **given}


def merge_hyperparameters(hyperparameters: Mapping[str, Any] | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    """One dictionary from the two ways to give them. Names inside `hyperparameters` are left to the server."""
    known = Hyperparameters.__annotations__
    for name in fields:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known fields: {', '.join(known)}"
            raise TypeError(f"unknown training field {name!r}{hint}")
    twice = sorted(set(hyperparameters or {}) & set(fields))
    if twice:
        raise InvalidRequest(f"{twice[0]!r} is given both as a keyword and in hyperparameters", fix="Give it once.")
    return {**(hyperparameters or {}), **fields}


def chat_messages(text_or_messages: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A bare text is one user message."""
    if isinstance(text_or_messages, str):
        return [{"role": "user", "content": text_or_messages}]
    return list(text_or_messages)


def path(*segments: str) -> str:
    """`/fettle/...` with every segment escaped: model ids hold slashes."""
    return "/fettle/" + "/".join(quote(segment, safe=":") for segment in segments)


def job_path(job_id: str, resource: str) -> str:
    return path("fine_tuning", "jobs", job_id, resource)


def rollout_query(*, step: int | None, row: int | None, purpose: str | None, limit: int) -> dict[str, object]:
    query = {"step": step, "row": row, "purpose": purpose, "limit": min(limit, ROLLOUT_PAGE_SIZE)}
    return {name: value for name, value in query.items() if value is not None}
