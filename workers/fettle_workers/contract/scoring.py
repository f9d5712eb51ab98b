"""Reward models and embeddings of the model server, for graders that run where there is no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fettle_graders.errors import Flag
from fettle_workers.contract.frozen import Frozen

MAX_TEXTS = 1024


class ScoreCall(Frozen):
    model: str = Field(description="name of a reward model in the catalogue")
    texts: Annotated[tuple[str, ...], Field(max_length=MAX_TEXTS)]


class EmbedCall(Frozen):
    texts: Annotated[tuple[str, ...], Field(max_length=MAX_TEXTS)]


class GradeFault(Frozen):
    """Why there is no grade, as the grader library tells it."""

    flag: Flag
    message: str
    details: str | None = None


class ScoreReply(Frozen):
    scores: tuple[float, ...] = ()
    fault: GradeFault | None = None


class EmbedReply(Frozen):
    vectors: tuple[tuple[float, ...], ...] = ()
    fault: GradeFault | None = None
