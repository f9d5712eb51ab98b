"""A run that is stopped, or killed at any moment, goes on as an unbroken one would: bit for bit, on a CPU."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fettle_workers.adapters.checkpoints import LocalCheckpoints, is_whole
from fettle_workers.contract.spec import ReinforcementHyperparameters, ReinforcementMethod, TrainSpec
from fettle_workers.engine.errors import CheckpointError
from fettle_workers.engine.train import train

KILLS = 3
TIMES = {"timing", "eta_s", "tokens_per_s", "train_latency_s_mean", "valid_latency_s_mean"}
SETTINGS = {
    "max_completion_tokens": 12,
    "group_size": 8,
    "max_steps": 40,
    "eval_interval": 4,
    "eval_samples": 2,
    "early_stopping": False,
}


class StopAfter:
    """Asks for a pause at the n-th step boundary."""

    def __init__(self, boundary):
        self.left = boundary

    def poll(self):
        self.left -= 1
        return "pause" if self.left == 0 else None


class FinishAfter(StopAfter):
    """Asks to finish from the n-th step boundary on."""

    def poll(self):
        self.left -= 1
        return "finish" if self.left <= 0 else None


def numbers(events):
    """What each step and evaluation said, the last time it said it; without clock times."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items() if key not in TIMES}
        return [plain(part) for part in value] if isinstance(value, list) else value

    told = {}
    for event in events:
        if event["type"] == "step":
            told["step", event["metrics"]["step"]] = plain(event["metrics"])
        if event["type"] == "evaluation":
            told["evaluation", event["evaluation"]["step"]] = plain(event["evaluation"])
        if event["type"] == "checkpoint" and event["candidate"]:
            told["adapter", event["step"]] = event["manifest"]["adapter_digest"]
        if event["type"] == "rollouts":
            told["final rollouts"] = event
        if event["type"] == "finished":
            told["finished"] = plain(event)
    return told


def dumped(events, *more):
    return [json.loads(event.model_dump_json()) for event in (*events.events, *more)]


@pytest.mark.parametrize("boundary", [1, 2, 3, 5])
def test_a_paused_run_ends_as_an_unbroken_one(make_job, tmp_path, boundary):
    settings = SETTINGS | {"max_steps": 6, "eval_interval": 3}
    job, source, events = make_job(**settings, work=tmp_path / "unbroken")
    expected = numbers(dumped(events, train(job, source)))

    job, source, events = make_job(**settings, work=tmp_path / "broken", control=StopAfter(boundary))
    stopped = train(job, source)
    assert (stopped.reason, stopped.step) == ("paused", boundary - 1)
    before = dumped(events)
    job, source, events = make_job(**settings, work=tmp_path / "broken", resume=True)
    assert job.progress.step == boundary - 1
    assert numbers(before + dumped(events, train(job, source))) == expected


def test_a_run_told_to_finish_evaluates_one_more_step_and_delivers_the_best(make_job, tmp_path):
    job, source, events = make_job(**SETTINGS, work=tmp_path, control=FinishAfter(3))
    finished = train(job, source)
    assert finished.type == "finished"
    assert finished.reason == "you asked to finish"
    assert [event.metrics.step for event in events.of("step")] == [1, 2, 3]
    assert [event.evaluation.step for event in events.of("evaluation")] == [0, 3]


def test_an_end_that_is_repeated_stores_the_same_rollouts_again(make_job, tmp_path):
    """Killed after the final rollouts were stored and before the job's last event, the run ends again as it did."""
    settings = SETTINGS | {"max_steps": 2, "eval_interval": 1}
    told = []
    for resume in (False, True):
        job, source, events = make_job(**settings, work=tmp_path / "work", resume=resume)
        finished = train(job, source)
        told.append((events.of("rollouts"), finished))
    assert told[0] == told[1]
    assert len(told[0][0]) == 1
    folders = sorted(path.name for path in (tmp_path / "work" / "checkpoints").iterdir())
    assert folders == ["final", "step-000000", "step-000001", "step-000002"]


def test_a_checkpoint_of_another_job_is_refused(make_job):
    job, source, _ = make_job(**SETTINGS | {"max_steps": 1})
    train(job, source)
    with pytest.raises(CheckpointError, match="another specification"):
        make_job(**SETTINGS | {"max_steps": 2}, resume=True)


def test_a_damaged_checkpoint_is_passed_over(make_job):
    job, source, _ = make_job(**SETTINGS | {"max_steps": 6, "eval_interval": 3})
    train(job, source)
    newest = job.checkpoints.newest()
    assert newest.name == "step-000006"
    state = newest / "state.safetensors"
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(content)
    assert not is_whole(newest)
    assert job.checkpoints.newest().name == "step-000003"


@pytest.fixture(scope="module")
def models_file(model_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("catalogue") / "models.toml"
    path.write_text(f'[models."random"]\nsource = "{model_folder}"\n')
    return path


@pytest.fixture
def start(models_file, write_rows, simple_rows, tmp_path):
    """Start the trainer process on a job in a work folder."""
    from fettle_graders.spec import parse_grader

    def start(work: Path) -> subprocess.Popen:
        grader = {
            "type": "text_similarity", "name": "likes_a", "evaluation_metric": "fuzzy_match",
            "input": "{{sample.output_text}}", "reference": "{{item.answer}}",
        }  # fmt: skip
        spec = TrainSpec(
            job_id="job",
            base_model="random",
            method=ReinforcementMethod(
                grader=parse_grader(grader), hyperparameters=ReinforcementHyperparameters(**SETTINGS)
            ),
            seed=7,
            training_file=write_rows(work, simple_rows(8)),
            validation_file=write_rows(work, simple_rows(6, 100)),
        )
        (work / "spec.json").write_text(spec.model_dump_json())
        command = [sys.executable, "-m", "fettle_workers.main", "--dir", str(work), "--models-file", str(models_file)]
        with (work / "spec.json").open() as given, (work / "stderr").open("a") as errors:
            return subprocess.Popen(
                command, stdin=given, stdout=subprocess.PIPE, stderr=errors, text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip

    return start


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_an_unbroken_one(start, tmp_path):
    unbroken = start(tmp_path / "unbroken")
    expected = [json.loads(line) for line in unbroken.stdout]
    assert unbroken.wait() == 0

    moments = random.Random(11)
    told, kills, status = [], 0, None
    while status != 0:
        process = start(tmp_path / "broken")
        # Kill after some line was said and a random moment more: in a step, an evaluation, a commit. Then run through.
        lines_left = moments.randint(4, 12) if kills < KILLS else 10**9
        for line in process.stdout:
            told.append(json.loads(line))
            lines_left -= 1
            if lines_left == 0:
                time.sleep(moments.random() * 0.1)
                process.send_signal(signal.SIGKILL)
                break
        told += [json.loads(line) for line in process.stdout if line.endswith("\n")]
        status = process.wait()
        assert status in (0, -signal.SIGKILL), (tmp_path / "broken" / "stderr").read_text()
        kills += status != 0
        assert kills <= KILLS
    assert kills == KILLS
    assert told[-1]["type"] == "finished"
    assert any(event["type"] == "started" and event["resumed_from_step"] for event in told)
    said, unsaid = numbers(told), numbers(expected)
    # A commit may be killed before it is told of; the next attempt goes on from it and does not tell it again.
    lost = {key for key in unsaid if key not in said}
    assert len(lost) <= KILLS
    assert {kind for kind, _ in lost} <= {"adapter"}
    assert said == {key: value for key, value in unsaid.items() if key not in lost}
    newest = [LocalCheckpoints(tmp_path / name).newest() for name in ("unbroken", "broken")]
    assert newest[0].name == newest[1].name
    for file in ("adapter/adapter_model.safetensors", "state.safetensors"):
        assert (newest[0] / file).read_bytes() == (newest[1] / file).read_bytes()
