"""What looking before a job says, as typed objects: preflights, stored graders, and the reports of the grader lab."""

# ruff: noqa: RUF012  # pydantic copies a field's default for every object

from __future__ import annotations

from typing import Any, Literal

from openai import BaseModel

from fettle.lab_text import calibration_text, preflight_text, red_team_text, regrade_text, test_text

Verdict = Literal["ready", "fixable", "dont"]


class Bounded(BaseModel):
    """An estimate with its 95 % bounds; None where nothing is known."""

    value: float
    low: float | None = None
    high: float | None = None


class Finding(BaseModel):
    """`severity`: blocks, fix or note."""

    code: str
    severity: str
    message: str
    next_step: str


class RowCounts(BaseModel):
    dead: int
    teachable: int
    solved: int
    ungraded: int
    teachable_share: Bounded


class PreflightRow(BaseModel):
    row: int
    state: Literal["dead", "teachable", "solved", "ungraded"]
    mean: float | None = None
    num_graded: int = 0
    num_passed: int = 0


class PassAt(BaseModel):
    k: int
    estimate: Bounded


class SignalShare(BaseModel):
    """Expected share of groups of this size in which rewards differ; `planned` is the job's own size."""

    group_size: int
    planned: bool = False
    estimate: Bounded


class PreflightReport(BaseModel):
    verdict: Verdict
    summary: str
    findings: list[Finding] = []
    pass_threshold: float
    num_rows: int
    samples_per_row: int
    num_answers: int
    num_graded: int
    truncated_share: float
    counts: RowCounts
    rows: list[PreflightRow] = []
    rewards: dict[str, Any] | None = None
    pass_at: list[PassAt] = []
    signal: list[SignalShare] = []
    grader: dict[str, Any] = {}
    held_out: dict[str, Any] | None = None
    speed: dict[str, Any] = {}
    duration: dict[str, Any] = {}
    memory: dict[str, Any] = {}


class _Shown(BaseModel):
    """Prints as text for people."""

    def __repr__(self) -> str:
        return str(self)


class Preflight(_Shown):
    """A look at the base before a job. `report` is None until it has succeeded."""

    id: str
    status: str
    phase: str | None = None
    model: str
    training_file: str
    validation_file: str | None = None
    seed: int | None = None
    plan: dict[str, Any] | None = None
    verdict: Verdict | None = None
    summary: str | None = None
    report: PreflightReport | None = None
    error: dict[str, Any] | None = None

    @property
    def done(self) -> bool:
        return self.status in ("succeeded", "failed", "cancelled")

    @property
    def findings(self) -> list[Finding]:
        """The worst first."""
        return self.report.findings if self.report else []

    def rows(self, state: str) -> list[int]:
        """Rows of the training file (from 0) that are dead, teachable, solved or ungraded."""
        return [row.row for row in self.report.rows if row.state == state] if self.report else []

    def __str__(self) -> str:
        return preflight_text(self.to_dict(mode="json"))


class GraderVersion(BaseModel):
    """One definition of a stored grader; it never changes."""

    id: str
    grader_id: str
    name: str
    number: int
    note: str = ""
    created_at: int
    deleted: bool = False
    grader: dict[str, Any]


class StoredGrader(BaseModel):
    id: str
    name: str
    created_at: int
    num_versions: int
    newest: GraderVersion


class GraderTest(_Shown):
    """A grader over many answers. `scores` is None where nothing could be graded."""

    num_rows: int
    num_answers: int
    source: str
    grader_version: str | None = None
    grading: dict[str, Any]
    scores: dict[str, Any] | None = None
    gold: dict[str, Any] | None = None
    worst: list[dict[str, Any]] = []
    best: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []

    def __str__(self) -> str:
        return test_text(self.to_dict(mode="json"))


class RedTeam(_Shown):
    """Attacks on a grader. `attacks` has the most successful first."""

    verdict: Literal["holds", "hackable", "unclear"]
    summary: str
    num_rows: int
    honest_source: str
    honest_median: float | None = None
    attacks: list[dict[str, Any]] = []
    grading: dict[str, Any]

    def __str__(self) -> str:
        return red_team_text(self.to_dict(mode="json"))


class Regrade(_Shown):
    """Another grader over a job's stored answers."""

    job_id: str
    summary: str
    num_groups: int
    num_compared: int
    spearman: Bounded | None = None
    changed_winners: Bounded | None = None
    flipped: Bounded | None = None
    silenced: int = 0
    awakened: int = 0
    num_flips: int = 0
    flips: list[dict[str, Any]] = []
    grading: dict[str, Any]

    def __str__(self) -> str:
        return regrade_text(self.to_dict(mode="json"))


class Calibration(_Shown):
    """A grader against people's ratings."""

    verdict: Literal["use", "doubtful", "do_not_use", "unclear"]
    warnings: list[str] = []
    num_answers: int
    agreement: Bounded | None = None
    kappa: Bounded | None = None
    spearman: Bounded | None = None
    repeat_noise: Bounded | None = None
    group_spread: Bounded | None = None
    length_bias: Bounded | None = None
    confusion: dict[str, Any] | None = None
    grading: dict[str, Any]

    def __str__(self) -> str:
        return calibration_text(self.to_dict(mode="json"))
