"""A running job: its collaborators, gathered once, and the few things every phase does with them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from fettle_workers.contract.events import CheckpointCommitted, Message, RolloutsStored, Stopped
from fettle_workers.contract.spec import TrainSpec
from fettle_workers.engine.checkpoint import ROLLOUTS, writer
from fettle_workers.engine.errors import CheckpointError
from fettle_workers.engine.learner import Learner
from fettle_workers.engine.model import Policy
from fettle_workers.engine.plan import Plan, SupervisedPlan
from fettle_workers.engine.ports import CheckpointStore, Control, EventSink
from fettle_workers.engine.progress import Entry, Progress
from fettle_workers.engine.rollout import Rollout
from fettle_workers.engine.rollout_table import write_rollouts

PlanT = TypeVar("PlanT", Plan, SupervisedPlan)


@dataclass(frozen=True)
class Job(Generic[PlanT]):
    """Everything a phase of training needs.

    `pending` are the rollouts since the last commit: they are only ever stored together with the state they led to,
    except those of the final measurements, which lead to none.
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

    @property
    def policy(self) -> Policy:
        return self.learner.policy

    def say(self, message: str, *, level: Literal["info", "warn", "error"] = "info", code: str | None = None) -> None:
        self.events.emit(Message(level=level, message=message, code=code))

    def eta_s(self) -> float | None:
        """Seconds to the last step at the pace of this process so far, evaluations included."""
        done = self.progress.step - self.first_step
        if done <= 0:
            return None
        return (time.perf_counter() - self.started_at) / done * (self.plan.total_steps - self.progress.step)

    def commit(self, *, candidate: bool) -> None:
        """Make this step a checkpoint."""
        directory, manifest = self.checkpoints.commit(
            self.progress.step,
            writer(
                spec=self.spec,
                plan=self.plan,
                learner=self.learner,
                progress=self.progress,
                rollouts=self.pending,
                candidate=candidate,
            ),
        )
        self.pending.clear()
        self.events.emit(
            CheckpointCommitted(step=self.progress.step, directory=directory, manifest=manifest, candidate=candidate)
        )

    def store_final_rollouts(self) -> None:
        """Store what was sampled after the last commit, to choose a candidate and to measure it."""
        steps = [rollout.step for rollout in self.pending]
        directory, entry = self.checkpoints.store_final(ROLLOUTS, lambda path: write_rollouts(path, self.pending))
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
        command = self.control.poll()
        if command is None:
            return None
        if command == "cancel":
            return Stopped(reason="cancelled", step=self.progress.step)
        if self._is_uncommitted():
            self.commit(candidate=False)
        return Stopped(reason="paused" if command == "pause" else "preempted", step=self.progress.step)

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

    def return_to(self, entry: Entry, why: str) -> None:
        """Go on training from an earlier candidate, with the optimizer's memory cleared and half the learning rate."""
        self.load(entry)
        self.learner.reset()
        self.progress.health.lr_scale /= 2
        self.say(
            f"{why}: training goes on from the adapter of step {entry.step} with half the learning rate", level="warn"
        )


def mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
