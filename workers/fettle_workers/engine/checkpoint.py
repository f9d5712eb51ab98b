"""A checkpoint folder: the adapter, and the whole state of the run at that step.

    adapter/                PEFT files, ready to serve
    state.safetensors       adapter and optimizer moments in fp32
    state.json              plan, progress, digests of what it belongs to
    rollouts.parquet        completions since the previous commit
    manifest.json           written last, by the store

No state of a random generator is saved, because no generator lives longer than one draw: see `seeds.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file

from fettle_workers.contract.events import CheckpointManifest
from fettle_workers.contract.spec import TrainSpec
from fettle_workers.engine.errors import CheckpointError
from fettle_workers.engine.learner import Learner
from fettle_workers.engine.progress import Progress
from fettle_workers.engine.rollout import Rollout
from fettle_workers.engine.rollout_table import write_rollouts

PlanT = TypeVar("PlanT")

ROLLOUTS: Final = "rollouts.parquet"
_FORMAT = 2
_PROGRESS = TypeAdapter(Progress)


def spec_digest(spec: TrainSpec) -> str:
    """SHA-256 (hex) of what the job is; a checkpoint of another job or of changed settings is refused."""
    return hashlib.sha256(spec.model_dump_json().encode("utf-8")).hexdigest()


def state_digest(learner: Learner, progress: Progress) -> str:
    """SHA-256 (hex) of everything that decides how a run goes on; equal in all processes of a job."""
    tensors = learner.policy.adapter_tensors() | learner.tensors()
    total = hashlib.sha256(_PROGRESS.dump_json(progress))
    for name, tensor in sorted(tensors.items()):
        total.update(name.encode("utf-8"))
        total.update(tensor.numpy())
    return total.hexdigest()


def writer(
    *, spec: TrainSpec, plan: Any, learner: Learner, progress: Progress, rollouts: Sequence[Rollout], candidate: bool
) -> Callable[[Path], CheckpointManifest]:
    """What fills the folder of `progress.step`.

    Args:
        plan: `Plan` or `SupervisedPlan`.
        candidate: the step was just evaluated; its entry in the table learns the digest of its adapter here.
    """
    progress.num_updates = learner.num_updates

    def write(folder: Path) -> CheckpointManifest:
        policy = learner.policy
        digest = policy.save_adapter(folder / "adapter")
        if candidate:
            progress.entry(progress.step).adapter_digest = digest
        tensors = {f"adapter.{name}": tensor for name, tensor in policy.adapter_tensors().items()}
        save_file(tensors | learner.tensors(), folder / "state.safetensors")
        state = {
            "format": _FORMAT,
            "spec_digest": spec_digest(spec),
            "base_digest": policy.base_digest,
            "plan": asdict(plan),
            "progress": _PROGRESS.dump_python(progress, mode="python"),
        }
        # allow_nan: Python's own reader takes back what it wrote, and nothing else reads this file.
        (folder / "state.json").write_text(json.dumps(state), "utf-8")
        write_rollouts(folder / ROLLOUTS, rollouts, policy.chat)
        return CheckpointManifest(
            step=progress.step,
            adapter_digest=digest,
            files={},
            candidates={entry.step: entry.adapter_digest for entry in progress.kept},
            first_rollout_step=min((rollout.step for rollout in rollouts), default=None),
            num_rollouts=len(rollouts),
        )

    return write


def read_state(folder: Path, *, spec: TrainSpec, plan_type: type[PlanT]) -> tuple[PlanT, Progress, Mapping[str, Any]]:
    """Plan, progress and the raw state of a committed folder.

    Raises:
        CheckpointError: the folder is of another job, of changed settings, or of another version of Fettle.
    """
    state = json.loads((folder / "state.json").read_text("utf-8"))
    if state.get("format") != _FORMAT:
        raise CheckpointError(f"{folder.name}: state format {state.get('format')}, this version reads {_FORMAT}")
    if state["spec_digest"] != spec_digest(spec):
        raise CheckpointError(
            f"{folder.name} was written by a job with another specification; use an empty work folder for a new job"
        )
    return plan_type(**state["plan"]), _PROGRESS.validate_python(state["progress"]), state


def restore(folder: Path, *, learner: Learner, progress: Progress, state: Mapping[str, Any]) -> None:
    """Put adapter and optimizer back to where the folder's step left them.

    Raises:
        CheckpointError: the base model's weights are not those the run began with.
    """
    if state["base_digest"] != learner.policy.base_digest:
        raise CheckpointError(f"{folder.name}: the base model's weights differ from those the job began with")
    tensors = load_file(folder / "state.safetensors")
    adapter = {name.removeprefix("adapter."): t for name, t in tensors.items() if name.startswith("adapter.")}
    learner.policy.set_adapter_tensors(adapter)
    learner.load_tensors(tensors, num_updates=progress.num_updates)
