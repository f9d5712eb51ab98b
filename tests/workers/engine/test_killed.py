"""kill -9 in the middle of every phase, in a real process: the resumed run ends as the unbroken one, bit for bit."""

import json
import os
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from fettle_workers.adapters.checkpoints import LocalCheckpoints
from fettle_workers.engine import checkpoint, evaluate, finish
from fettle_workers.engine.sampler import TorchSampler
from fettle_workers.engine.train import train

SETTINGS = {
    "max_completion_tokens": 12, "group_size": 8, "max_steps": 6, "eval_interval": 3, "eval_samples": 2,
    "early_stopping": False, "updates_per_rollout": 2,
}  # fmt: skip


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner, name, call):
    """Die where `owner.name` is called for the n-th time."""
    return lambda patch: patch.setattr(owner, name, counted(getattr(owner, name), call, dies_first=True))


def after(owner, name, call):
    """Die when `owner.name` has done its work for the n-th time."""
    return lambda patch: patch.setattr(owner, name, counted(getattr(owner, name), call, dies_first=False))


def counted(real, call, *, dies_first):
    left = [call]

    def wrapped(*arguments, **options):
        left[0] -= 1
        if left[0] == 0 and dies_first:
            die()
        found = real(*arguments, **options)
        if left[0] == 0:
            die()
        return found

    return wrapped


def amid_sampling(call):
    """Die when the n-th batch of completions is half there."""

    def patched(patch):
        real, left = TorchSampler.sample, [call]

        def sample(self, requests, params):
            left[0] -= 1
            for number, completion in enumerate(real(self, requests, params)):
                if left[0] == 0 and number == 3:
                    die()
                yield completion

        patch.setattr(TorchSampler, "sample", sample)

    return patched


# phase -> how to die in it, and the committed step that the run is resumed from
PHASES = {
    "the first evaluation": (before(evaluate, "mean_kl", 1), 0),
    "sampling": (amid_sampling(7), 3),
    "grading": (None, 3),  # in the fifth step; the grader's class comes from a fixture
    "backward": (after(torch.Tensor, "backward", 9), 3),
    "optimizer": (after(torch.Tensor, "addcdiv_", 180), 3),
    "evaluation": (before(evaluate, "mean_kl", 2), 0),
    "checkpoint write": (after(checkpoint, "save_file", 2), 0),
    "before the manifest": (before(checkpoint, "write_rollouts", 2), 0),
    "before the move": (before(Path, "rename", 2), 0),
    "after the move": (after(Path, "rename", 2), 3),
    "the last evaluation": (before(evaluate, "mean_kl", 3), 3),
    "the last move": (before(Path, "rename", 3), 3),
    "the final measurement": (before(finish, "_answers", 3), 6),
}


def start(work, make_job, letters, *, resume):
    return make_job(work=work, graders=letters, resume=resume, **SETTINGS)[:2]


def kept(work, finished):
    """All that a run leaves: final adapter, optimizer, the whole state, completions, and what it said at the end."""
    folder = LocalCheckpoints(work).newest()
    assert folder.name == "step-000006"
    files = {name: (folder / name).read_bytes() for name in ("adapter/adapter_model.safetensors", "state.safetensors")}
    tables = {
        path.relative_to(work).as_posix(): pq.read_table(path).to_pylist()
        for path in sorted((work / "checkpoints").rglob("rollouts.parquet"))
    }
    return files, json.loads((folder / "state.json").read_text()), tables, finished


UNBROKEN = {}


@pytest.fixture
def unbroken(tmp_path, make_job, letters):
    if not UNBROKEN:
        UNBROKEN["kept"] = kept(
            tmp_path / "unbroken", train(*start(tmp_path / "unbroken", make_job, letters, resume=False))
        )
    return UNBROKEN["kept"]


@pytest.mark.parametrize("phase", PHASES)
def test_a_run_killed_in_any_phase_ends_as_the_unbroken_one(phase, unbroken, make_job, letters, tmp_path, monkeypatch):
    work, (dies, resumed_from) = tmp_path / "broken", PHASES[phase]
    child = os.fork()
    if child == 0:
        try:
            (dies or before(type(letters), "submit", 600))(monkeypatch)
            train(*start(work, make_job, letters, resume=False))
        finally:
            os._exit(0)  # it outlived its phase, or failed: the parent sees that it was not killed
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    again = start(work, make_job, letters, resume=True)
    assert again[0].progress.step == resumed_from
    files, state, tables, finished = kept(work, train(*again))
    expected_files, expected_state, expected_tables, expected = unbroken
    assert files == expected_files
    assert state == expected_state
    assert tables == expected_tables
    assert finished == expected
