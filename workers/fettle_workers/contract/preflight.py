"""What a preflight is asked for and what it reports: the base's own answers, before any of them trains."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fettle_workers.contract.frozen import Frozen

RowState = Literal["dead", "teachable", "solved", "ungraded"]
Verdict = Literal["ready", "fixable", "dont"]

SIGNAL_GROUP_SIZES = (4, 8, 16, 32)


class Bounded(Frozen):
    """An estimate with its 95 % bounds; a bound about which nothing is known is None."""

    value: float
    low: float | None
    high: float | None


class PreflightRow(Frozen):
    """One training row: `row` counts from 0 in the training file."""

    row: int
    state: RowState
    mean: float | None = Field(description="of the graded answers; None when none was")
    num_graded: int
    num_passed: int = Field(description="answers that reached the pass threshold")


class RowCounts(Frozen):
    """How many rows are in each state, and the share of the teachable among all."""

    dead: int
    teachable: int
    solved: int
    ungraded: int
    teachable_share: Bounded


class PassAt(Frozen):
    k: int
    estimate: Bounded


class SignalShare(Frozen):
    """Expected share of groups of this size in which two answers differ in reward."""

    group_size: int
    planned: bool = Field(description="the group size that the job would use")
    estimate: Bounded


class Rewards(Frozen):
    mean: Bounded
    std: float
    within_row_std: float | None
    share_zero: float
    share_one: float
    histogram_edges: tuple[float, ...] = Field(description="of the rows' means")
    histogram_counts: tuple[int, ...]


class GraderHealth(Frozen):
    """Shares are of answers. A failed grade is no grade: it counts in no mean."""

    failed_share: float
    unreadable_share: float = Field(description="answers in the wrong form, which the grader could not read: graded 0")
    errors: dict[str, int] = Field(default_factory=dict, description="flag -> answers")
    messages: tuple[str, ...] = Field(default=(), description="distinct reasons of failure, the most frequent first")
    latency_p50_s: float | None
    latency_p95_s: float | None


class HeldOut(Frozen):
    """The base on the held-out rows: the score that the job has to beat, and its evaluation at step 0."""

    num_items: int
    samples_per_item: int
    mean: float
    standard_error: float
    in_sample: bool


class Speed(Frozen):
    """Measured here, on this worker."""

    tokens_per_s: float = Field(description="sampled")
    completion_tokens_mean: float
    sampling_s: float
    grading_s: float
    training_tokens_per_s: float | None = Field(description="prompt and completion, in an update that was thrown away")


class Duration(Frozen):
    """Of the job it would be."""

    total_steps: int
    low_s: float
    high_s: float
    assumes: str


class Memory(Frozen):
    device: str
    peak_bytes: int = Field(description="of sampling and of one update")
    total_bytes: int


class Finding(Frozen):
    """`blocks`: a job would learn nothing. `fix`: a job would run, and worse than it has to. `note`: good to know."""

    code: str
    severity: Literal["blocks", "fix", "note"]
    message: str
    next_step: str


class PreflightReport(Frozen):
    verdict: Verdict
    summary: str = Field(description="one sentence")
    findings: tuple[Finding, ...]
    pass_threshold: float
    num_rows: int
    samples_per_row: int
    num_answers: int
    num_graded: int
    truncated_share: float
    counts: RowCounts
    rows: tuple[PreflightRow, ...]
    rewards: Rewards | None = Field(description="None: nothing was graded")
    pass_at: tuple[PassAt, ...]
    signal: tuple[SignalShare, ...]
    grader: GraderHealth
    held_out: HeldOut | None = Field(description="None: no answer to a held-out row could be graded")
    speed: Speed
    duration: Duration
    memory: Memory


class Step0Settings(Frozen):
    """What decides the answers of a job's first evaluation, beside what the platform compares itself."""

    base_lengths: tuple[int, ...] = Field(description="tokens of the base's answers that the plan was made from")
    eval_samples: int
    max_completion_tokens: int
    temperature: float


class Step0Ref(Frozen):
    """A preflight's answers to the held-out rows, to take over as the evaluation at step 0."""

    preflight_id: str
    key: str
    sha256: str
    size_bytes: int
    settings: Step0Settings


class PreflightSettings(Frozen):
    """How much to ask."""

    num_rows: Annotated[int, Field(ge=1, le=1000)] = 64
    samples_per_row: Annotated[int, Field(ge=2, le=64)] = 8
    pass_threshold: float | None = Field(default=None, description="reward from which an answer passes; None: 0.5")
