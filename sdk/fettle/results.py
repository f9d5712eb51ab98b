"""What Fettle says beyond the OpenAI wire, as typed objects.

They subclass the official client's lenient base: unknown keys are kept (`model_extra`), so a newer server never
breaks an older client.
"""

# ruff: noqa: RUF012  # pydantic copies a field's default for every object

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from openai import BaseModel


class Candidate(BaseModel):
    """One checkpoint that could have been delivered."""

    step: int
    adapter_digest: str | None = None
    mean: float
    standard_error_vs_best: float | None = None
    kl_nats: float | None = None
    eligible: bool = True
    reason: str | None = None


class Example(BaseModel):
    """One held-out prompt answered by the base and by the chosen checkpoint, same seed."""

    row: int
    prompt: str
    before: str
    before_reward: float | None = None
    after: str
    after_reward: float | None = None


class Selection(BaseModel):
    """Which checkpoint was delivered and why: tuned against base, with the interval of the gain.

    `chosen_step` 0 is the base itself: nothing measurably better was found.
    """

    verdict: Literal["improved", "no_measurable_gain"]
    chosen_step: int
    chosen_adapter_digest: str | None = None
    rule: str
    base_mean: float
    chosen_mean: float
    gain: float
    gain_low: float
    gain_high: float
    confidence: float = 0.95
    num_items: int
    samples_per_item: int
    in_sample: bool = False
    measured_on: str | None = None
    kl_nats: float | None = None
    candidates: list[Candidate] = []
    examples: list[Example] = []
    table: dict[str, Any] | None = None
    """Every score the verdict was computed from."""

    @property
    def improved(self) -> bool:
        return self.verdict == "improved"


class Occurrence(BaseModel):
    """Where a problem was seen: a 1-based line, the field inside it, and what was found there."""

    line: int
    path: str = ""
    found: str = ""


class Problem(BaseModel):
    """One cause found in a data file. `count` is how often, `examples` are the first places."""

    message: str
    code: str = "invalid_row"
    severity: Literal["error", "warning"] = "error"
    path: str = ""
    expected: str = ""
    count: int = 1
    examples: list[Occurrence] = []

    @property
    def lines(self) -> list[int]:
        """The line numbers of the examples."""
        return [example.line for example in self.examples]

    def __str__(self) -> str:
        where = _where(self.lines, self.count)
        found = f"; found {self.examples[0].found}" if self.examples and self.examples[0].found else ""
        expected = f"; expected {self.expected}" if self.expected else ""
        parts = [where, self.path, self.message + found + expected]
        return ": ".join(part for part in parts if part)


class FileReport(BaseModel):
    """The validation of one file, its problems grouped by cause."""

    id: str | None = None
    status: str = "processed"
    num_rows: int | None = None
    num_errors: int | None = None
    num_warnings: int | None = None
    causes: list[Problem] = []

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.causes if problem.severity == "error"]

    @property
    def warnings(self) -> list[Problem]:
        return [problem for problem in self.causes if problem.severity != "error"]


class Plan(BaseModel):
    """What every `auto` of a job becomes: `plan` as the job stores it, and for each `auto` why, in `reasons`.

    A value is None where only the job or a preflight can say.
    """

    plan: dict[str, Any]
    reasons: dict[str, str] = {}
    warnings: list[str] = []


class GraderResult(BaseModel):
    """What one grader said about one answer. `reward` is 0 when it failed; `metadata["errors"]` tells."""

    reward: float
    sub_rewards: dict[str, float] = {}
    metadata: dict[str, Any] = {}

    @property
    def errors(self) -> dict[str, Any]:
        """The error flags that are set, with their details."""
        return {name: value for name, value in (self.metadata.get("errors") or {}).items() if value}


class Rollout(BaseModel):
    """One sampled completion of a job with its grade. `reward` is None where grading failed."""

    id: str
    step: int
    row: int
    purpose: Literal["train", "eval", "final", "report"] | None = None
    source: str | None = None
    sample_index: int | None = None
    text: str | None = None
    reasoning: str | None = None
    reward: float | None = None
    sub_rewards: dict[str, float | None] | None = None
    advantage: float | None = None
    num_tokens: int | None = None
    num_reasoning_tokens: int | None = None
    finish_reason: str | None = None
    error: str | None = None
    error_flags: list[str] | None = None


class ItemScore(BaseModel):
    """One held-out row at one step; None where every grade failed."""

    row: int
    mean: float | None = None


class StepEvaluation(BaseModel):
    """The policy of one step on the held-out rows. Step 0 is the base."""

    id: str
    step: int
    mean: float
    standard_error: float
    kl_nats: float
    num_items: int
    samples_per_item: int
    in_sample: bool = False
    items: list[ItemScore] = []


def _where(lines: list[int], count: int) -> str:
    if not lines:
        return ""
    shown = ", ".join(str(line) for line in lines[:5])
    rest = count - min(len(lines), 5)
    word = "line" if count == 1 else "lines"
    return f"{word} {shown}" + (f" and {rest} more" if rest > 0 else "")


def selection_of(extra: Mapping[str, Any] | None) -> Selection | None:
    """The selection inside a job's `fettle` object; None while there is none."""
    found = (extra or {}).get("selection")
    return Selection.construct(**found) if isinstance(found, Mapping) and "verdict" in found else None


def verdict_text(selection: Selection) -> str:
    """The outcome in one sentence, with its interval."""
    percent = f"{selection.confidence:.0%}"
    interval = f"{selection.gain:+.3f}, {percent} interval {selection.gain_low:+.3f} to {selection.gain_high:+.3f}"
    if selection.improved:
        scores = f"scores {selection.chosen_mean:.3f}, the base {selection.base_mean:.3f}"
        return f"Improved: step {selection.chosen_step} {scores} ({interval})."
    if selection.in_sample and selection.gain_low > 0:
        return (
            f"No measurable gain: too few rows to hold any out, so nothing is known about new prompts. On the rows it "
            f"was trained on, step {selection.chosen_step} scores {selection.chosen_mean:.3f}, the base "
            f"{selection.base_mean:.3f} ({interval})."
        )
    return (
        f"No measurable gain: the base scores {selection.base_mean:.3f} and nothing was measurably better "
        f"({interval}). The delivered model is step {selection.chosen_step}."
    )


def why_text(selection: Selection) -> str:
    """The selection as a paragraph and a table, for people."""
    rows_and_samples = f"{selection.num_items} rows, {selection.samples_per_item} samples each"
    measured = f"Measured on {selection.measured_on or rows_and_samples}."
    rows = [_candidate_line(candidate, selection.chosen_step) for candidate in selection.candidates]
    table = ["  step  score   KL      why", *rows] if rows else []
    return "\n".join([verdict_text(selection), f"Rule: {selection.rule}", measured, *table])


def _candidate_line(candidate: Candidate, chosen_step: int) -> str:
    mark = ">" if candidate.step == chosen_step else " "
    kl = "-" if candidate.kl_nats is None else f"{candidate.kl_nats:.4f}"
    return f"{mark} {candidate.step:<5} {candidate.mean:<7.3f} {kl:<7} {candidate.reason or ''}".rstrip()
