"""What the lab answers. The models are also the documentation: their JSON schema is in the OpenAPI document."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field

from fettle_graders.lab.intervals import Estimate
from fettle_graders.lab.scores import Scores
from fettle_workers.contract.frozen import Frozen

SHOWN_CHARS = 2000


class Bounded(Frozen):
    """An estimate with its 95 % bounds; a bound about which nothing is known is null."""

    value: float
    low: float | None
    high: float | None


class GradingHealth(Frozen):
    num_graded: int
    num_failed: int
    failed_share: float
    errors: dict[str, int] = Field(description="flag -> answers")
    messages: tuple[str, ...] = Field(description="distinct reasons of failure, the most frequent first")
    latency_p50_s: float | None
    latency_p95_s: float | None
    judge_tokens_per_1000: float | None = Field(description="tokens that judges used for 1000 answers; null: no judge")
    complete: bool = Field(description="false: the time was over, and only the first rows were graded")
    seconds: float


class Distribution(Frozen):
    mean: Bounded
    std: float
    within_row_std: float | None
    minimum: float
    median: float
    maximum: float
    share_zero: float
    share_one: float
    histogram_edges: tuple[float, ...]
    histogram_counts: tuple[int, ...]


class Result(Frozen):
    """One answer. `score` null: it could not be graded, and `errors` say why."""

    row: int
    step: int | None = None
    sample_index: int
    text: str
    score: float | None
    sub_scores: dict[str, float | None] = Field(default_factory=dict)
    errors: tuple[str, ...] = ()
    message: str | None = None


class GoldMiss(Frozen):
    """A row whose right answer does not score at the top."""

    row: int
    reason: Literal["failed", "below_an_answer", "below_other_references"]
    score: float | None
    best_score: float | None
    text: str
    best_text: str | None = None


class GoldCheck(Frozen):
    num_checked: int
    top_score: float | None = Field(description="the best that a right answer got")
    num_missed: int
    missed: tuple[GoldMiss, ...] = Field(description="at most 100")


class GraderTest(Frozen):
    object: Literal["fettle.grader_test"] = "fettle.grader_test"
    grader: dict[str, Any]
    grader_version: str | None
    source: str
    num_rows: int
    num_answers: int
    grading: GradingHealth
    scores: Distribution | None = Field(description="null: nothing was graded")
    gold: GoldCheck | None = Field(description="null: `gold` was not given")
    worst: tuple[Result, ...]
    best: tuple[Result, ...]
    results: tuple[Result, ...]


class AttackExample(Frozen):
    row: int
    text: str
    score: float


class AttackResult(Frozen):
    name: str
    description: str
    num_rows: int = Field(description="rows whose attack answer was graded")
    num_fooled: int = Field(description="of these, above the honest median, or equal to a median that is no mean score")
    share: Bounded | None
    mean_score: float | None
    max_score: float | None
    examples: tuple[AttackExample, ...]


class RedTeam(Frozen):
    object: Literal["fettle.grader_red_team"] = "fettle.grader_red_team"
    grader: dict[str, Any]
    grader_version: str | None
    verdict: Literal["holds", "hackable", "unclear"]
    summary: str
    num_rows: int
    honest_source: str
    honest_median: float | None
    honest_mean: float | None
    attacks: tuple[AttackResult, ...] = Field(description="the most successful first")
    grading: GradingHealth


class FlipShown(Frozen):
    row: int
    step: int | None
    text: str
    old_reward: float
    new_reward: float
    old_advantage: float
    new_advantage: float


class Regrade(Frozen):
    object: Literal["fettle.grader_regrade"] = "fettle.grader_regrade"
    grader: dict[str, Any]
    grader_version: str | None
    job_id: str
    num_groups: int
    num_answers: int
    num_compared: int
    old_mean: Bounded | None
    new_mean: Bounded | None
    spearman: Bounded | None = Field(description="null: one grader gave one value only")
    changed_winners: Bounded | None = Field(description="share of groups that both graders tell apart")
    flipped: Bounded | None = Field(description="share of pushed answers that would be pushed the other way")
    silenced: int = Field(description="groups that only the old grader tells apart")
    awakened: int = Field(description="groups that only the new grader tells apart")
    flips: tuple[FlipShown, ...] = Field(description="the largest swings, at most 50")
    num_flips: int
    summary: str
    grading: GradingHealth


class ConfusionShown(Frozen):
    both_pass: int
    both_fail: int
    only_grader: int
    only_person: int


class Calibrated(Frozen):
    object: Literal["fettle.grader_calibration"] = "fettle.grader_calibration"
    grader: dict[str, Any]
    grader_version: str | None
    num_answers: int
    repeats: int
    label_threshold: float
    score_threshold: float
    agreement: Bounded | None
    kappa: Bounded | None
    spearman: Bounded | None
    confusion: ConfusionShown | None
    repeat_noise: Bounded | None = Field(description="standard deviation of repeated scores of one answer")
    group_spread: Bounded | None = Field(description="standard deviation between answers to one prompt")
    length_bias: Bounded | None = Field(
        description="rank correlation of length with how much higher the grader ranks than the person"
    )
    verdict: Literal["use", "doubtful", "do_not_use", "unclear"]
    warnings: tuple[str, ...]
    grading: GradingHealth


def bounded(estimate: Estimate | None) -> Bounded | None:
    if estimate is None:
        return None
    low, high = (bound if math.isfinite(bound) else None for bound in (estimate.low, estimate.high))
    return Bounded(value=estimate.value, low=low, high=high)


def distribution(scores: Scores | None) -> Distribution | None:
    mean = bounded(scores.mean) if scores else None
    if scores is None or mean is None:
        return None
    return Distribution(
        mean=mean,
        std=scores.std,
        within_row_std=scores.within_row_std,
        minimum=scores.minimum,
        median=scores.median,
        maximum=scores.maximum,
        share_zero=scores.share_zero,
        share_one=scores.share_one,
        histogram_edges=scores.histogram.edges,
        histogram_counts=scores.histogram.counts,
    )


def shown(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…"
