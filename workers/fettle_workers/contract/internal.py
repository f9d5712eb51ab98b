"""The calls a supervisor makes to the control plane, below `/internal/jobs/{job_id}/`, and the trainer's input.

`claim` carries the workers' shared token; every other call carries the token of the claimed attempt. An answer of 410
means that the attempt is over (its lease ran out, or another attempt began): stop at once and write nothing more.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fettle_graders.services import JudgeAnswer, JudgeRequest
from fettle_workers.contract.events import CheckpointManifest, Event
from fettle_workers.contract.frozen import Frozen
from fettle_workers.contract.spec import TrainSpec

Desired = Literal["run", "pause", "cancel", "finish"]


class ClaimRequest(Frozen):
    attempt: int
    worker: str = Field(description="host name and process id, for people")


class ResumePoint(Frozen):
    """The newest committed training state, and the candidates whose adapters must be at hand again."""

    step: int
    store_prefix: str
    manifest: CheckpointManifest


class ClaimResponse(Frozen):
    spec: TrainSpec
    attempt: int
    token: str
    lease_s: float
    judge_token: str = Field(description="for `judge` calls of this attempt, which the trainer itself makes")
    resume: ResumePoint | None = None


class JudgeCall(Frozen):
    """A trainer's question to a judge model. Its token is the claim's `judge_token`, which is good for nothing else."""

    attempt: int
    request: JudgeRequest


class JudgeReply(Frozen):
    """The judge's answer, or why there is none; retries towards the judge were made."""

    answer: JudgeAnswer | None = None
    failure: str | None = Field(default=None, description="in words, for `model_grader_server_error`")
    details: str | None = None


class HeartbeatRequest(Frozen):
    attempt: int


class HeartbeatResponse(Frozen):
    desired: Desired
    lease_s: float


class SequencedEvent(Frozen):
    sequence: int = Field(ge=1, description="counts from 1 in each attempt; a repeat changes nothing")
    event: Event


class EventsRequest(Frozen):
    attempt: int
    events: tuple[SequencedEvent, ...]


class ReleaseRequest(Frozen):
    """The supervisor gives the job back without a terminal event: the trainer died or the worker is shutting down."""

    attempt: int
    outcome: Literal["requeue", "lost"]
    message: str
    step: int | None = None


class JudgeAccess(Frozen):
    """Where a trainer asks judges."""

    control_plane_url: str
    attempt: int
    token: str


class RunnerInput(Frozen):
    """First line on a trainer's standard input. Later lines are `Command`s."""

    spec: TrainSpec
    work_dir: str
    resume_from: str | None = Field(default=None, description="checkpoint folder relative to the work folder")
    judge: JudgeAccess | None = None
    egress_allow: tuple[str, ...] = Field(default=(), description="networks graders may call that are not public")
    sandbox_min_tier: Literal["namespaces", "lockdown"] = Field(
        default="lockdown", description="the weakest sandbox that may run graders' code"
    )


class Command(Frozen):
    command: Literal["pause", "cancel", "preempt", "finish"]
