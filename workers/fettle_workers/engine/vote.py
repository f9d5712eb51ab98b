"""Training on the vote of a group: does the vote still mean anything?

Agreement rises by itself, because it is what is rewarded. Rows whose label is known say whether truth rises with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fettle_graders.grade import Vote
from fettle_workers.engine.rollout import Rollout

_DECAY = 0.9
_MIN_CANARIES = 16
COLLAPSED_SHARE = 0.9
WORSE_BY = 0.1


@dataclass
class VoteWatch:
    """Moving averages over groups; part of a checkpoint.

    Attributes:
        share: completions that agree with their group's vote.
        canary: votes on labelled rows that are right.
        best_canary: the highest `canary` after enough of them were seen.
    """

    share: float | None = None
    canary: float | None = None
    best_canary: float | None = None
    num_canaries: int = 0

    def observe(self, groups: Sequence[Sequence[Rollout]]) -> None:
        for vote in votes(groups):
            self.share = _moved(self.share, vote.share)
            if vote.winner_is_right is not None:
                self.canary = _moved(self.canary, float(vote.winner_is_right))
                self.num_canaries += 1
                if self.num_canaries >= _MIN_CANARIES:
                    self.best_canary = max(self.canary, self.best_canary or 0.0)

    def reason_to_stop(self) -> str | None:
        """The vote agrees with itself while labelled rows got worse: what is learned now is to agree."""
        if self.share is None or self.canary is None or self.best_canary is None:
            return None
        if self.share < COLLAPSED_SHARE or self.canary >= self.best_canary - WORSE_BY:
            return None
        return (
            f"the vote collapsed: {self.share:.0%} of the answers agree with their group, while the vote is right on "
            f"{self.canary:.0%} of the labelled rows, after {self.best_canary:.0%} at best"
        )


def votes(groups: Sequence[Sequence[Rollout]]) -> list[Vote]:
    """One vote for each group that held one."""
    held = ([rollout.grade.vote for rollout in group if rollout.grade.vote is not None] for group in groups)
    return [of_group[0] for of_group in held if of_group]


def _moved(average: float | None, value: float) -> float:
    return value if average is None else _DECAY * average + (1 - _DECAY) * value
