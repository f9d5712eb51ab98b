"""The memory of a run: everything that decides how it goes on, and all of it is in every checkpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fettle_workers.engine.curriculum import ItemMemory
from fettle_workers.engine.grade_log import GradeLog
from fettle_workers.engine.health import Health
from fettle_workers.engine.penalties import EntropyFloor, KlControl, LengthControl
from fettle_workers.engine.select import Items, Scored, finalists, mean_and_error
from fettle_workers.engine.stopping import EarlyStop
from fettle_workers.engine.vote import VoteWatch

_MAX_KEPT = 9


@dataclass
class Entry:
    """One evaluated step in the evaluation table. `scores[item][sample]`; None where the grade failed.

    `illness` says why the step cannot be delivered; `train_reward` is that of the training rows at the time;
    `watched[grader][item]` the means of graders that are no part of the reward.
    """

    step: int
    adapter_digest: str
    scores: list[list[float | None]]
    kl_nats: float
    truncated_share: float = 0.0
    tokens_mean: float = 0.0
    train_reward: float | None = None
    illness: str | None = None
    kept: bool = True
    watched: dict[str, list[float | None]] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        return self.illness is None

    @property
    def items(self) -> Items:
        """Mean of each item over its graded samples, NaN where there is none."""
        return np.array([mean_of_known(samples) for samples in self.scores], dtype=np.float64)

    @property
    def scored(self) -> Scored:
        return Scored(self.step, self.items, self.kl_nats, illness=self.illness)


def mean_of_known(samples: Sequence[float | None]) -> float:
    """NaN when every grade failed."""
    graded = [score for score in samples if score is not None]
    return sum(graded) / len(graded) if graded else math.nan


@dataclass
class Progress:
    """State of a job at a step boundary.

    Attributes:
        reward_scale: moving average of the standard deviation inside groups; see `group_advantages`.
        grader_scales: the same of each grader of a weighted sum, and `balanced_scale` of their balanced sum.
        truncation: moving average of the share of completions cut off at their budget.
        groups_seen, groups_informative: since the last evaluation.
        signal_seen: some group had different rewards.
        table: every evaluation so far.
        lowest_reward, highest_reward: of all training completions so far; what a pass rate is measured against.
        long_costs: too many completions are cut off, so being long costs reward.
        go_back_to: candidate whose adapter the next step starts from, because of what the last step showed.
        sampler_is_suspect: it drew from another distribution than the learner's; to be compared before the next step.
        warm_from: the step of the last such return, from which the learning rate is warmed up again.
        end_reason: why training ended; None while it goes on.
    """

    memory: ItemMemory
    step: int = 0
    num_updates: int = 0
    trained_tokens: int = 0
    num_completions: int = 0
    reward_scale: float | None = None
    grader_scales: dict[str, float] = field(default_factory=dict)
    balanced_scale: float | None = None
    truncation: float | None = None
    groups_seen: int = 0
    groups_informative: int = 0
    signal_seen: bool = False
    grades: GradeLog = field(default_factory=GradeLog)
    health: Health = field(default_factory=Health)
    early_stop: EarlyStop = field(default_factory=EarlyStop)
    kl: KlControl = field(default_factory=KlControl)
    entropy: EntropyFloor = field(default_factory=EntropyFloor)
    length: LengthControl = field(default_factory=LengthControl)
    votes: VoteWatch = field(default_factory=VoteWatch)
    table: list[Entry] = field(default_factory=list)
    lowest_reward: float | None = None
    highest_reward: float | None = None
    long_costs: bool = False
    go_back_to: int | None = None
    sampler_is_suspect: bool = False
    warm_from: int = 0
    end_reason: str | None = None

    def entry(self, step: int) -> Entry:
        return next(entry for entry in self.table if entry.step == step)

    def best(self, *, kl_budget_nats: float) -> Entry:
        """The kept candidate with the highest mean that is healthy and within the budget; step 0 if none is."""
        fit = [e for e in self.kept if e.step == 0 or (e.healthy and e.kl_nats <= kl_budget_nats)]
        return max(fit, key=lambda entry: (_rank(entry), -entry.step))

    @property
    def kept(self) -> list[Entry]:
        return [entry for entry in self.table if entry.kept]

    def prune(self, *, kl_budget_nats: float) -> None:
        """Keep step 0, the best candidates that may be delivered, and what early stopping compares with."""
        kept = finalists([entry.scored for entry in self.kept], kl_budget_nats=kl_budget_nats, num=_MAX_KEPT)
        for entry in self.table:
            entry.kept = entry.step in (*kept, self.early_stop.reference_step)


def _rank(entry: Entry) -> float:
    mean, _ = mean_and_error(entry.items)
    return -math.inf if math.isnan(mean) else mean
