"""What a trainer says while it works. One JSON object a line on its standard output; the supervisor relays each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from fettle_graders.services import TokenUsage
from fettle_workers.contract.frozen import Frozen
from fettle_workers.contract.preflight import PreflightReport, Step0Settings


class GraderMetrics(Frozen):
    """One grader of the job over one step, or over one evaluation (`valid_*`)."""

    name: str
    type: str
    train_reward_mean: float | None = None
    valid_reward_mean: float | None = None
    train_errors: dict[str, int] = Field(default_factory=dict)
    valid_errors: dict[str, int] = Field(default_factory=dict)
    train_latency_s_mean: float | None = None
    valid_latency_s_mean: float | None = None
    train_usage: dict[str, TokenUsage] = Field(default_factory=dict, description="tokens of judges, by model")
    valid_usage: dict[str, TokenUsage] = Field(default_factory=dict)


class Timing(Frozen):
    """Of one step, by the clock. `grading_s` is the time in which nothing was sampled: what grading added."""

    sampling_s: float = 0.0
    grading_s: float = 0.0
    training_s: float = 0.0
    eval_s: float = 0.0
    total_s: float = 0.0


class StepMetrics(Frozen):
    """One optimizer step. Fields that only one method has are None for the other."""

    step: int
    total_steps: int
    epoch: float
    lr: float
    loss: float | None = None
    grad_norm: float | None = None
    # Reinforcement.
    train_reward_mean: float | None = None
    train_reward_std: float | None = Field(default=None, description="mean of the standard deviation inside groups")
    graders: tuple[GraderMetrics, ...] = ()
    kl_nats: float | None = Field(default=None, description="exact forward-sampled KL(policy || base), per token")
    entropy_nats: float | None = None
    completion_tokens_mean: float | None = None
    reasoning_tokens_mean: float | None = None
    truncated_share: float | None = None
    informative_group_share: float | None = None
    masked_share: float | None = Field(default=None, description="of tokens, left out: sampler and learner disagree")
    mismatch_kl_nats: float | None = Field(default=None, description="k3 of sampler against learner, per token")
    repeated_share: float | None = Field(default=None, description="of 4-grams seen before in their completion")
    entropy_coef: float | None = None
    kl_coef: float | None = None
    length_coef: float | None = None
    majority_share: float | None = Field(default=None, description="of completions, agree with their group's vote")
    canary_accuracy: float | None = Field(default=None, description="of votes on labelled rows, right")
    unresponsive_share: float | None = None
    num_completions: int | None = None
    num_failed_grades: int | None = None
    # Supervised.
    train_loss: float | None = None
    train_mean_token_accuracy: float | None = None
    # Both.
    trained_tokens: int = Field(default=0, description="running total")
    tokens_per_s: float | None = None
    eta_s: float | None = None
    timing: Timing = Timing()


class Evaluation(Frozen):
    """The policy of one step on the held-out rows. `step` 0 is the base (or the adapter the job continues from)."""

    step: int
    mean: float = Field(description="reward (reinforcement) or negative loss (supervised), mean over items")
    standard_error: float
    kl_nats: float = Field(description="exact KL(policy || base) in nats per token on the evaluation completions")
    num_items: int
    samples_per_item: int
    in_sample: bool = Field(description="the items are training rows: too few rows to hold any out")
    item_means: tuple[float | None, ...] = Field(description="per held-out row, None where every grade failed")
    graders: tuple[GraderMetrics, ...] = ()
    completion_tokens_mean: float | None = None
    reasoning_tokens_mean: float | None = None
    truncated_share: float | None = None
    valid_loss: float | None = None
    valid_mean_token_accuracy: float | None = None


class FileEntry(Frozen):
    size_bytes: int
    sha256: str


class CheckpointManifest(Frozen):
    """What `manifest.json` of a committed checkpoint folder holds; it is written last."""

    step: int
    adapter_digest: str
    files: dict[str, FileEntry] = Field(
        description="path inside the folder -> entry: adapter/*, state.safetensors, state.json, rollouts.parquet"
    )
    first_rollout_step: int | None = None
    num_rollouts: int = 0
    candidates: dict[int, str] = Field(
        default_factory=dict, description="step -> adapter digest of every candidate still in the running"
    )


Standing = Literal["best", "tied", "worse", "unfit", "not_a_finalist"]


class Candidate(Frozen):
    """`standing` is what the rule made of it: the highest mean of the fit ones, within one standard error of that,
    further below, not to be delivered whatever it scores, or left behind before the last measurement.
    """

    step: int
    adapter_digest: str
    mean: float
    standard_error_vs_best: float
    kl_nats: float
    eligible: bool
    standing: Standing | None = Field(default=None, description="for programs; None in decisions of older versions")
    reason: str = Field(description="why it is eligible or not, in words")


class Example(Frozen):
    """One held-out prompt answered by the base and by the chosen checkpoint, same seed."""

    row: int
    prompt: str
    before: str
    before_reward: float | None
    after: str
    after_reward: float | None


class CandidateScores(Frozen):
    """A checkpoint as the rule saw it."""

    step: int
    kl_nats: float
    illness: str | None = Field(default=None, description="why it cannot be delivered, whatever it scored")
    item_means: tuple[float | None, ...] = Field(description="per row of `rows`, None where every grade failed")


class ScoreTable(Frozen):
    """All that the choice and the verdict were computed from: `fettle_workers.engine.verdict` does it again.

    method: `fresh_rows`: the gain is measured on rows that played no part in choosing. `corrected`: on the rows that
    the choice was made on, without the advantage of being chosen. `fresh_answers`: on those rows with new answers,
    which is no ground for a claim.
    """

    method: Literal["fresh_rows", "corrected", "fresh_answers"]
    rows: tuple[int, ...] = Field(description="numbers, in their file, of the rows that checkpoints were chosen on")
    report_rows: tuple[int, ...] = ()
    kl_budget_nats: float | None = Field(description="None: there is no budget")
    seed: int = Field(description="of the resampling")
    candidates: tuple[CandidateScores, ...] = Field(description="the finalists, from which the rule chooses")
    others: tuple[CandidateScores, ...] = Field(
        default=(),
        description="the other evaluated checkpoints, where the gain is `corrected`: they might have won, too",
    )
    base_report: tuple[float | None, ...] = Field(default=(), description="step 0 on the report rows")
    chosen_report: tuple[float | None, ...] = Field(default=(), description="the rule's choice on the report rows")


class Selection(Frozen):
    """Which checkpoint is delivered and why. Source: engine's `verdict.py`."""

    verdict: Literal["improved", "no_measurable_gain"]
    chosen_step: int
    chosen_adapter_digest: str
    rule: str = Field(description="one sentence a user understands")
    base_mean: float
    chosen_mean: float
    gain: float
    gain_low: float
    gain_high: float
    confidence: float = 0.95
    num_items: int
    samples_per_item: int
    in_sample: bool
    measured_on: str = Field(description="which rows and seeds the gain was measured on, in words")
    kl_nats: float
    candidates: tuple[Candidate, ...]
    examples: tuple[Example, ...] = ()
    table: ScoreTable | None = None


class Started(Frozen):
    type: Literal["started"] = "started"
    plan: dict[str, Any] = Field(description="every value that `auto` resolved to")
    total_steps: int
    resumed_from_step: int | None = None


class Message(Frozen):
    type: Literal["message"] = "message"
    level: Literal["info", "warn", "error"] = "info"
    message: str
    code: str | None = Field(default=None, description="what happened, for programs; the engine's are in training.md")
    step: int | None = Field(default=None, description="the training step it is about")
    values: dict[str, float] = Field(default_factory=dict, description="the numbers behind it, all finite")


class StepDone(Frozen):
    type: Literal["step"] = "step"
    metrics: StepMetrics


class EvaluationDone(Frozen):
    type: Literal["evaluation"] = "evaluation"
    evaluation: Evaluation


class CheckpointCommitted(Frozen):
    """`directory` is relative to the work folder. The supervisor uploads it, adds `store_prefix`, then relays."""

    type: Literal["checkpoint"] = "checkpoint"
    step: int
    directory: str
    manifest: CheckpointManifest
    candidate: bool = Field(description="evaluated, so it may be selected and served")
    store_prefix: str | None = None


class RolloutsStored(Frozen):
    """The completions of the final measurements, in one file of no checkpoint: said once, just before `Finished`.

    `directory` is relative to the work folder. The supervisor uploads the file, adds `store_prefix`, then relays. A
    repeated end of the job writes the same file again: the newest event replaces what earlier ones named.
    """

    type: Literal["rollouts"] = "rollouts"
    directory: str
    name: Literal["rollouts.parquet"]
    entry: FileEntry
    first_step: int = Field(description="the earliest step whose policy was measured")
    last_step: int = Field(description="the job's last step")
    num_rollouts: int
    store_prefix: str | None = None


class Finished(Frozen):
    type: Literal["finished"] = "finished"
    selection: Selection
    trained_tokens: int
    reason: str = Field(description="why training ended: all steps done, early stop, ...")


class Preflighted(Frozen):
    """A preflight has ended. `step0` None: its held-out answers cannot stand in for a job's first evaluation."""

    type: Literal["preflighted"] = "preflighted"
    report: PreflightReport
    step0: Step0Settings | None


class Failed(Frozen):
    type: Literal["failed"] = "failed"
    code: str = Field(description="one of the published job error codes")
    message: str
    param: str | None = None


class Stopped(Frozen):
    """The trainer honoured a command at a step boundary; a checkpoint of that step is committed (not on cancel)."""

    type: Literal["stopped"] = "stopped"
    reason: Literal["paused", "cancelled", "preempted"]
    step: int


Event = Annotated[
    Started
    | Message
    | StepDone
    | EvaluationDone
    | CheckpointCommitted
    | RolloutsStored
    | Finished
    | Preflighted
    | Failed
    | Stopped,
    Field(discriminator="type"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)

JOB_ERROR_CODES = (
    "invalid_training_file",
    "invalid_validation_file",
    "invalid_grader",
    "invalid_hyperparameters",
    "grader_error_rate_exceeded",
    "sandbox_unavailable",
    "sandbox_failure",
    "no_learning_signal",
    "out_of_memory",
    "worker_lost",
    "model_not_available",
    "internal_error",
)
