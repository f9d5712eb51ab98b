"""Reward models and embeddings of the model server: this process has no torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import httpx
from pydantic import ValidationError

from fettle_graders.errors import Flag, GradeFailure
from fettle_workers.contract.frozen import Frozen
from fettle_workers.contract.scoring import EmbedCall, EmbedReply, GradeFault, ScoreCall, ScoreReply

_READ_S, _CONNECT_S = 120.0, 5.0
Answer = TypeVar("Answer", ScoreReply, EmbedReply)


class ServedScorer:
    """Safe to use from many threads."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def score(self, model: str, texts: Sequence[str]) -> list[float]:
        """Raises GradeFailure with `model_grader_server_error`."""
        call = ScoreCall(model=model, texts=tuple(texts))
        reply = _asked(f"{self._base_url}/fettle/scores", call, ScoreReply, "model_grader_server_error")
        return list(reply.scores)


class ServedEmbedder:
    """Safe to use from many threads."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """Raises GradeFailure with `other_error`."""
        call = EmbedCall(texts=tuple(texts))
        return list(_asked(f"{self._base_url}/fettle/embeddings", call, EmbedReply, "other_error").vectors)


def _asked(url: str, call: Frozen, kind: type[Answer], flag: Flag) -> Answer:
    try:
        response = _client().post(url, content=call.model_dump_json(), headers={"content-type": "application/json"})
    except httpx.HTTPError as error:
        raise _failed(flag, f"the model server does not answer: {type(error).__name__}") from error
    if response.status_code != 200:
        raise _failed(flag, f"the model server refused: HTTP {response.status_code} {response.text[:300]}")
    try:
        reply = kind.model_validate_json(response.content)
    except ValidationError:
        raise _failed(flag, "the model server's answer is not one of `fettle infer`") from None
    if reply.fault is not None:
        raise _of(reply.fault)
    return reply


def _failed(flag: Flag, message: str) -> GradeFailure:
    return _of(GradeFault(flag=flag, message=message, details=message))


def _of(fault: GradeFault) -> GradeFailure:
    return GradeFailure(fault.flag, fault.message, details=fault.details)


@lru_cache(maxsize=1)
def _client() -> httpx.Client:
    transport = httpx.HTTPTransport(retries=4)  # of the connecting only, in 3.5 s: it may be starting
    return httpx.Client(transport=transport, trust_env=False, timeout=httpx.Timeout(_READ_S, connect=_CONNECT_S))
