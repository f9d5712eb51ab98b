"""A trainer whose grader is code: it runs in the sandbox, and without one the job waits instead of failing."""

import subprocess
import sys

import pytest

from fettle_workers.contract.events import EVENT
from fettle_workers.contract.spec import ReinforcementHyperparameters, ReinforcementMethod, TrainSpec

SOURCE = """
def grade(sample, item):
    text = sample["output_text"]
    return sum(c.islower() for c in text) / max(1, len(text))
"""
# What a worker host looks like on which no tier passes its self-test.
NO_TIERS = """
import sys
from fettle_workers.adapters import graders
from fettle_workers.main import main
graders.tiers_from = lambda minimum: ()
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def run(model_folder, tmp_path, write_rows, simple_rows):
    models_file = tmp_path / "models.toml"
    models_file.write_text(f'[models."random"]\nsource = "{model_folder}"\n')
    asked = ReinforcementHyperparameters(
        max_completion_tokens=12, group_size=4, max_steps=2, eval_interval=1, eval_samples=1
    )
    spec = TrainSpec(
        job_id="job",
        base_model="random",
        method=ReinforcementMethod(grader={"type": "python", "name": "p", "source": SOURCE}, hyperparameters=asked),
        seed=7,
        training_file=write_rows(tmp_path, simple_rows(4)),
        validation_file=write_rows(tmp_path, simple_rows(5, 100)),
    )

    def run_(*program):
        command = [sys.executable, *program, "--models-file", str(models_file), "--dir", str(tmp_path)]
        done = subprocess.run(command, input=spec.model_dump_json(), capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return [EVENT.validate_json(line) for line in done.stdout.splitlines()]

    return run_


def test_without_a_sandbox_the_job_pauses_and_goes_on_when_there_is_one(run):
    *said, stopped = run("-c", NO_TIERS)
    assert (stopped.type, stopped.reason, stopped.step) == ("stopped", "paused", 0)
    assert (said[-1].level, said[-1].code) == ("error", "sandbox_unavailable")
    assert "then resume the job" in said[-1].message
    assert not [event for event in said if event.type in ("evaluation", "step", "checkpoint")]
    *steps, finished = run("-m", "fettle_workers.main")
    assert finished.type == "finished"
    graders = [event.metrics.graders[0] for event in steps if event.type == "step"]
    assert [grader.train_errors for grader in graders] == [{}, {}]
    assert all(0 < grader.train_reward_mean <= 1 for grader in graders)
