"""A running job: its collaborators, gathered once, and the few things every phase does with them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from fettle_workers.contract.events import CheckpointCommitted, Message, RolloutsStored, Stopped
from fettle_workers.contract.spec import TrainSpec
from fettle_workers.engine.checkpoint import ROLLOUTS, state_digest, writer
from fettle_workers.engine.errors import CheckpointError
from fettle_workers.engine.health import Finding
from fettle_workers.engine.learner import Learner
from fettle_workers.engine.model import Policy
from fettle_workers.engine.plan import Plan, SupervisedPlan
from fettle_workers.engine.ports import CheckpointStore, Control, EventSink
from fettle_workers.engine.processes import Processes
from fettle_workers.engine.progress import Entry, Progress
from fettle_workers.engine.rollout import Rollout
from fettle_workers.engine.rollout_table import write_rollouts

PlanT = TypeVar("PlanT", Plan, SupervisedPlan)


@dataclass
class Job(Generic[PlanT]):
    """Everything a phase of training needs.

    `pending` are the rollouts since the last commit: they are only ever stored together with the state they led to,
    except those of the final measurements, which lead to none.
    `is_finishing`: the next step is the last one, because its owner wants the result now.
    `first_step` is where this process began: 0, or the committed step it resumed from.
    """

    spec: TrainSpec
    plan: PlanT
    learner: Learner
    progress: Progress
    checkpoints: CheckpointStore
    events: EventSink
    control: Control
    pending: list[Rollout] = field(default_factory=list)
    started_at: float = field(default_factory=time.perf_counter)
    first_step: int = 0
    is_finishing: bool = False

    @property
    def policy(self) -> Policy:
        return self.learner.policy

    @property
    def processes(self) -> Processes:
        return self.learner.processes

    def say(self, message: str, *, level: Literal["info", "warn", "error"] = "info") -> None:
        self.events.emit(Message(level=level, message=message))

    def act(self, finding: Finding, *, kl_budget_nats: float) -> None:
        """Tell what a rule of health found, and do what it asks for. A return happens before the next step."""
        progress, words = self.progress, finding.message
        if finding.action == "halve_rate":
            progress.health.lr_scale /= 2
            words += " The learning rate is halved."
        elif finding.action in ("roll_back", "reload_sampler"):
            progress.go_back_to = progress.best(kl_budget_nats=kl_budget_nats).step
            words += f": training goes back to the adapter of step {progress.go_back_to} with half the learning rate"
            if finding.action == "reload_sampler":
                progress.sampler_is_suspect = True
                words += ", the sampler reads it anew, and the two are compared before the next step"
        elif finding.action == "stop":
            progress.end_reason = finding.message
            words += ": training ends"
        if progress.health.is_news(finding):
            values = {name: value for name, value in finding.values.items() if math.isfinite(value)}
            self.events.emit(
                Message(level=finding.level, message=words, code=finding.code, step=progress.step, values=values)
            )

    def tell_end(self) -> None:
        """Say why training ends, before the final measurement begins."""
        why = f"training ends at step {self.progress.step}: {self.progress.end_reason}"
        self.events.emit(Message(message=why, code="training_ended", step=self.progress.step))

    def eta_s(self) -> float | None:
        """Seconds to the last step at the pace of this process so far, evaluations included."""
        done = self.progress.step - self.first_step
        if done <= 0:
            return None
        return (time.perf_counter() - self.started_at) / done * (self.plan.total_steps - self.progress.step)

    def commit(self, *, candidate: bool) -> None:
        """Make this step a checkpoint."""
        self.processes.check_same(lambda: state_digest(self.learner, self.progress))
        write = writer(
            spec=self.spec,
            plan=self.plan,
            learner=self.learner,
            progress=self.progress,
            rollouts=self.pending,
            candidate=candidate,
        )
        directory, manifest = self.processes.decide(lambda: self.checkpoints.commit(self.progress.step, write))
        if candidate:
            self.progress.entry(self.progress.step).adapter_digest = manifest.adapter_digest
        self.pending.clear()
        self.events.emit(
            CheckpointCommitted(step=self.progress.step, directory=directory, manifest=manifest, candidate=candidate)
        )

    def store_final_rollouts(self) -> None:
        """Store what was sampled after the last commit, to choose a candidate and to measure it."""
        steps = [rollout.step for rollout in self.pending]
        directory, entry = self.processes.decide(
            lambda: self.checkpoints.store_final(
                ROLLOUTS, lambda path: write_rollouts(path, self.pending, self.policy.chat)
            )
        )
        self.events.emit(
            RolloutsStored(
                directory=directory,
                name=ROLLOUTS,
                entry=entry,
                first_step=min(steps),
                last_step=self.progress.step,
                num_rollouts=len(steps),
            )
        )
        self.pending.clear()

    def stopped(self) -> Stopped | None:
        """Honour a command at a step boundary: commit, unless the job is cancelled."""
        command = self.processes.decide(self.control.poll)
        self.is_finishing = command == "finish"
        if command is None or self.is_finishing:
            return None
        if command == "cancel":
            return Stopped(reason="cancelled", step=self.progress.step)
        if self._is_uncommitted():
            self.commit(candidate=False)
        return Stopped(reason="paused" if command == "pause" else "preempted", step=self.progress.step)

    def last_step(self) -> str | None:
        """Why the step just made is the last one, if it is; its policy is then evaluated and becomes a candidate."""
        if self.progress.step == self.plan.total_steps:
            return "all steps are done"
        return "you asked to finish" if self.is_finishing else None

    def _is_uncommitted(self) -> bool:
        evaluated = any(entry.step == self.progress.step for entry in self.progress.table)
        return not evaluated and self.progress.step != self.first_step

    def load(self, entry: Entry) -> None:
        """Make the adapter of a kept candidate the policy's.

        Raises:
            CheckpointError: it is not at hand.
        """
        folder = self.checkpoints.adapter(entry.step, entry.adapter_digest)
        if folder is None:
            raise CheckpointError(
                f"the adapter of step {entry.step} ({entry.adapter_digest}) is not in the work folder"
            )
        self.policy.load_adapter(folder)

    def go_back_if_decided(self) -> None:
        """Go on from an earlier candidate, with the optimizer's memory cleared, half the learning rate and a warm-up.

        Before a step and not when it is decided, so that a commit in between holds the adapter that was evaluated.
        """
        progress = self.progress
        step, progress.go_back_to = progress.go_back_to, None
        if step is None:
            return
        self.load(progress.entry(step))
        self.learner.reset()
        progress.health.start_afresh()
        progress.warm_from = progress.step


def mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
