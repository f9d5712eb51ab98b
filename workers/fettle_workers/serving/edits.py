"""What a request does to the logits before a token is drawn: bias, penalties, a grammar."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fettle_workers.serving.grammar import AnswerGrammar


class LogitsEdits:
    """The edits of one completion; `observe` keeps their state up to date."""

    def __init__(
        self,
        *,
        bias: Mapping[int, float],
        frequency_penalty: float,
        presence_penalty: float,
        grammar: AnswerGrammar | None,
    ) -> None:
        self._bias_ids = torch.tensor(list(bias), dtype=torch.long)
        self._bias = torch.tensor(list(bias.values()), dtype=torch.float32)
        self._frequency, self._presence = frequency_penalty, presence_penalty
        self._grammar = grammar
        self._counts: dict[int, int] = {}

    @property
    def changes_anything(self) -> bool:
        return bool(len(self._bias_ids) or self._frequency or self._presence or self._grammar)

    def __call__(self, logits_V: Tensor) -> Tensor:
        """A changed copy. Penalties as on the wire: frequency times the count so far, presence once."""
        edited = logits_V.clone()
        if len(self._bias_ids):
            edited[self._bias_ids] += self._bias.to(edited.device)
        if self._counts and (self._frequency or self._presence):
            counts = torch.tensor(list(self._counts.values()), dtype=edited.dtype, device=edited.device)
            edited[list(self._counts)] -= self._frequency * counts + self._presence
        return edited if self._grammar is None else self._grammar.mask(edited)

    def observe(self, token: int) -> None:
        self._counts[token] = self._counts.get(token, 0) + 1
        if self._grammar is not None:
            self._grammar.observe(token)
