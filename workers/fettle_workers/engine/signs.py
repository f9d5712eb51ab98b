"""What completions look like, in numbers: the signs of gibberish that the rules of health watch."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from fettle_workers.engine.rollout import Rollout

_GRAM = 4
_PLAIN_CONTROLS = frozenset("\n\t\r")


def repeated_share(ids: Sequence[int]) -> float | None:
    """Share of the 4-grams of one completion that occurred before in it; None when it has fewer than two."""
    grams = [tuple(ids[start : start + _GRAM]) for start in range(len(ids) - _GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if len(grams) > 1 else None


def garbled_share(text: str) -> float:
    """Share of the characters that are no text: broken UTF-8, control, private and unassigned code points."""
    bad = sum(
        char == "\ufffd" or (unicodedata.category(char)[0] == "C" and char not in _PLAIN_CONTROLS) for char in text
    )
    return bad / len(text) if text else 0.0


def text_signs(rollouts: Sequence[Rollout]) -> tuple[float, float]:
    """Mean repeated share of the completions that are long enough, and mean garbled share of all."""
    repeated = [share for rollout in rollouts if (share := repeated_share(rollout.completion.ids)) is not None]
    garbled = [garbled_share(rollout.parsed.text + (rollout.parsed.reasoning or "")) for rollout in rollouts]
    return sum(repeated) / max(1, len(repeated)), sum(garbled) / max(1, len(garbled))
