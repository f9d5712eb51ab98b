"""Token sequences on their way into a forward pass.

Letters in shapes: N loss tokens, sequence by sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class TokenSequence:
    """A sequence and which of its tokens are in the loss; the first never is, nothing predicts it."""

    ids: tuple[int, ...]
    in_loss: tuple[bool, ...]

    @classmethod
    def completion(cls, prompt_ids: Sequence[int], ids: Sequence[int]) -> TokenSequence:
        return cls((*prompt_ids, *ids), (False,) * len(prompt_ids) + (True,) * len(ids))


@dataclass(frozen=True)
class Microbatch:
    """Sequences that go through one forward pass together.

    `members` are their numbers in the list that was cut; `targets_N` the ids of their loss tokens; `sequences_N`
    numbers the sequence of each loss token within the microbatch. `inputs` is what the network that cut them reads.
    """

    members: tuple[int, ...]
    targets_N: Tensor
    sequences_N: Tensor
    inputs: Any  # each network has its own form and reads only its own
