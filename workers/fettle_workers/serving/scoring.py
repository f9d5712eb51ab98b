"""`/fettle/scores` and `/fettle/embeddings`: what graders ask for that have no torch of their own."""

from __future__ import annotations

from fettle_graders.errors import GradeFailure
from fettle_graders.services import Embedder, Scorer
from fettle_workers.contract.scoring import EmbedCall, EmbedReply, GradeFault, ScoreCall, ScoreReply
from fettle_workers.serving.errors import UnknownModel


class Scoring:
    """Whichever of the two this server has. Safe to use from many threads; the models take turns."""

    def __init__(self, scorer: Scorer | None = None, embedder: Embedder | None = None) -> None:
        self._scorer, self._embedder = scorer, embedder

    def score(self, call: ScoreCall) -> ScoreReply:
        """Raises UnknownModel: there are no reward models here."""
        if self._scorer is None:
            raise UnknownModel(call.model)
        try:
            return ScoreReply(scores=tuple(self._scorer.score(call.model, call.texts)))
        except GradeFailure as failure:
            return ScoreReply(fault=_fault(failure))

    def embed(self, call: EmbedCall) -> EmbedReply:
        """Raises UnknownModel: there is no embedding model here."""
        if self._embedder is None:
            raise UnknownModel("default")
        try:
            return EmbedReply(vectors=tuple(tuple(vector) for vector in self._embedder.embed(call.texts)))
        except GradeFailure as failure:
            return EmbedReply(fault=_fault(failure))


def _fault(failure: GradeFailure) -> GradeFault:
    return GradeFault(flag=failure.flag, message=failure.message, details=failure.details)
