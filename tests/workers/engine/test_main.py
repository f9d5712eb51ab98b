"""The trainer process and its protocol."""

import json
import os
import resource
import signal
import subprocess
import sys

import psutil
import pytest

from fettle_workers.contract.events import EVENT
from fettle_workers.contract.internal import RunnerInput
from fettle_workers.contract.spec import (
    ReinforcementHyperparameters,
    ReinforcementMethod,
    SupervisedHyperparameters,
    SupervisedMethod,
    TrainSpec,
)

GRADER = {
    "type": "text_similarity",
    "name": "likes_a",
    "evaluation_metric": "fuzzy_match",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
}


@pytest.fixture
def models_file(model_folder, tmp_path):
    path = tmp_path / "models.toml"
    path.write_text(f'[models."random"]\nsource = "{model_folder}"\n')
    return path


@pytest.fixture
def trainer(models_file, tmp_path):
    def start(*arguments):
        command = [sys.executable, "-m", "fettle_workers.main", "--models-file", str(models_file), *arguments]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    return start


@pytest.fixture
def spec(tmp_path, write_rows, simple_rows):
    asked = {
        "max_completion_tokens": 12,
        "group_size": 4,
        "max_steps": 10_000,
        "eval_interval": 5000,
        "eval_samples": 1,
    }
    return TrainSpec(
        job_id="job",
        base_model="random",
        method=ReinforcementMethod(
            grader=GRADER, hyperparameters=ReinforcementHyperparameters(**asked, n_epochs=10_000)
        ),
        seed=7,
        training_file=write_rows(tmp_path, simple_rows(4)),
        validation_file=write_rows(tmp_path, simple_rows(5, 100)),
    )


def line_of(spec, work):
    return RunnerInput(spec=spec, work_dir=str(work)).model_dump_json() + "\n"


def until(process, kind):
    for line in process.stdout:
        event = EVENT.validate_json(line)  # nothing else may be on standard output
        if event.type == kind:
            return event
    raise AssertionError(process.stderr.read())


def test_a_pause_command_ends_it_with_a_checkpoint(trainer, spec, tmp_path):
    process = trainer("--supervised")
    process.stdin.write(line_of(spec, tmp_path))
    process.stdin.flush()
    until(process, "step")
    process.stdin.write('{"command": "pause"}\n')
    process.stdin.flush()
    committed = until(process, "checkpoint")
    assert not committed.candidate
    stopped = until(process, "stopped")
    assert (stopped.reason, stopped.step) == ("paused", committed.step)
    assert process.wait(60) == 0


def test_sigterm_is_a_preemption(trainer, spec, tmp_path):
    process = trainer("--dir", str(tmp_path))
    process.stdin.write(spec.model_dump_json())
    process.stdin.close()
    until(process, "step")
    process.send_signal(signal.SIGTERM)
    assert until(process, "stopped").reason == "preempted"
    assert process.wait(60) == 0


def test_the_end_of_its_input_ends_a_supervised_trainer(trainer, spec, tmp_path):
    process = trainer("--supervised")
    process.stdin.write(line_of(spec, tmp_path))
    process.stdin.flush()
    until(process, "step")
    process.stdin.close()
    assert process.wait(30) == 3


def test_an_unknown_base_model_is_told_as_an_event(trainer, spec, tmp_path):
    process = trainer("--dir", str(tmp_path))
    out, _ = process.communicate(spec.model_copy(update={"base_model": "other"}).model_dump_json(), timeout=120)
    event = EVENT.validate_json(out)
    assert (event.type, event.code) == ("failed", "model_not_available")
    assert "it has fettle-tiny, random" in event.message
    assert process.returncode == 0


def test_a_missing_file_is_told_as_an_event(trainer, spec, tmp_path):
    missing = spec.training_file.model_copy(update={"sha256": "0" * 64})
    process = trainer("--dir", str(tmp_path))
    out, _ = process.communicate(spec.model_copy(update={"training_file": missing}).model_dump_json(), timeout=120)
    event = EVENT.validate_json(out)
    assert (event.type, event.code, event.param) == ("failed", "invalid_training_file", "training_file")


def test_input_that_is_no_job_is_told_without_loading_torch(trainer):
    process = trainer()
    out, _ = process.communicate("{}", timeout=60)
    assert json.loads(out)["code"] == "internal_error"


def test_supervised_tuning_runs_from_start_to_end(trainer, tmp_path, write_rows):
    def demonstrations(first, count):
        said = {"role": "assistant", "content": "abcabcabc"}
        return [{"messages": [{"role": "user", "content": f"q{first + n}"}, said]} for n in range(count)]

    spec = TrainSpec(
        job_id="job",
        base_model="random",
        method=SupervisedMethod(hyperparameters=SupervisedHyperparameters(max_steps=20, learning_rate_multiplier=3)),
        seed=7,
        training_file=write_rows(tmp_path, demonstrations(0, 8)),
        validation_file=write_rows(tmp_path, demonstrations(50, 6)),
    )
    process = trainer("--dir", str(tmp_path))
    out, errors = process.communicate(spec.model_dump_json(), timeout=300)
    events = [EVENT.validate_json(line) for line in out.splitlines()]
    assert events[-1].type == "finished", errors
    losses = [event.evaluation.valid_loss for event in events if event.type == "evaluation"]
    assert losses[-1] < 0.5 * losses[0]
    assert events[-1].selection.verdict == "improved"
    assert [event.metrics.step for event in events if event.type == "step"] == list(range(1, 21))
    # A step that took time to evaluate is shown with its evaluation: one without an evaluation must not wait for it.
    evaluated = {event.evaluation.step for event in events if event.type == "evaluation"} - {0}
    assert {event.metrics.step for event in events if event.type == "step" and event.metrics.timing.eval_s} == evaluated


def test_a_machine_without_memory_left_is_told_as_an_event(trainer, spec, tmp_path):
    process = trainer("--dir", str(tmp_path))
    process.stdin.write(spec.model_dump_json())
    process.stdin.close()
    until(process, "step")
    now = psutil.Process(process.pid).memory_info().vms
    resource.prlimit(process.pid, resource.RLIMIT_AS, (now, now))
    failed = until(process, "failed")
    assert failed.code == "out_of_memory"
    assert "Lower max_completion_tokens" in failed.message
    assert process.wait(60) == 0
