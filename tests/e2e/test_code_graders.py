"""Jobs whose graders are code, through the server: they run in the sandbox of the worker."""

import json
import time
from pathlib import Path

import openai
import psutil
import pytest

pytestmark = pytest.mark.e2e
DEMO = Path(__file__).parents[2] / "examples" / "demo"
TIMEOUT_S = 240
CLOSE = """
import rapidfuzz

def grade(sample, item):
    print("graded", item["answer"])
    return rapidfuzz.fuzz.ratio(sample["output_text"], item["answer"]) / 100
"""


def run(client, grader, *, training=None, max_steps=2):
    """A job of a few rows of the demo, to its end."""

    def upload(rows):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        return client.files.create(file=("rows.jsonl", lines.encode()), purpose="fine-tune").id

    rows = training or [json.loads(line) for line in (DEMO / "train.jsonl").read_text().splitlines()]
    sizes = {"batch_size": 4, "group_size": 4, "eval_samples": 1, "eval_interval": 2, "max_steps": max_steps}
    job = client.fine_tuning.jobs.create(
        model="fettle-tiny",
        method={"type": "reinforcement", "reinforcement": {"grader": grader, "hyperparameters": sizes}},
        training_file=upload(rows[:32]),
        validation_file=upload(rows[-8:]),
        seed=5,
    )
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        job = client.fine_tuning.jobs.retrieve(job.id)
        if job.status in ("succeeded", "failed", "cancelled", "paused"):
            return job
        time.sleep(0.1)
    raise TimeoutError(f"{job.id} is {job.status} after {TIMEOUT_S} s")


def test_a_python_grader_trains_the_bundled_model(embedded):
    since = time.time()
    platform = embedded()
    client = openai.OpenAI(base_url=platform.base_url, api_key=platform.api_key)
    status = platform.get("/fettle/sandbox")
    assert status["available"], status["reasons"]
    job = run(client, {"type": "python", "name": "close", "source": CLOSE})
    assert job.status == "succeeded", job.error
    events = client.fine_tuning.jobs.list_events(job.id, limit=100)
    steps = [event.data for event in events if event.type == "metrics" and event.data["step"] > 0]
    assert len(steps) == 2
    assert all(0 < step["train_mean_reward"] < 1 for step in steps)
    assert job.fine_tuned_model
    left = [
        process for process in psutil.process_iter(["name", "ppid", "create_time"]) if process.info["name"] == "bwrap"
    ]
    left = [process for process in left if process.info["ppid"] == 1 and process.info["create_time"] > since]
    left = [process for process in left if process.status() != psutil.STATUS_ZOMBIE]  # not every pid 1 buries the dead
    assert not left, "the trainer left a sandbox behind"


def test_a_code_grader_goes_through_a_whole_job(embedded):
    """The bundled model cannot write programs, so constructed ones show what they get, and the job what its own get."""
    platform = embedded()
    client = openai.OpenAI(base_url=platform.base_url, api_key=platform.api_key)
    grader = {"type": "code", "name": "tests", "tests": "{{item.tests}}", "timeout_s": 2}
    tests = ["assert largest([3, 9, 4]) == 9", {"call": "largest", "args": [[-1]], "expected": -1}]
    for program, reward in (
        ("```python\ndef largest(numbers):\n    return max(numbers)\n```", 1.0),
        ("```python\ndef largest(numbers):\n    return numbers[1]\n```", 0.5),
        ("import os\nos._exit(0)", 0.0),
        ("9", 0.0),
    ):
        run_ = client.fine_tuning.alpha.graders.run(grader=grader, model_sample=program, item={"tests": tests})
        assert run_.reward == reward, run_
    # What the model says is a number: a program that prints nothing. Half of the tests want just that.
    printing = [{"stdin": "", "stdout": ""}, {"stdin": "", "stdout": "9"}]
    lengths = {
        "type": "multi",
        "graders": {
            "tests": grader,
            "close": {
                "type": "text_similarity",
                "input": "{{sample.output_text}}",
                "reference": "{{item.answer}}",
                "evaluation_metric": "fuzzy_match",
            },
        },
        "calculate_output": "0.5 * tests + 0.5 * close",
    }
    rows = [json.loads(line) | {"tests": printing} for line in (DEMO / "train.jsonl").read_text().splitlines()[:40]]
    job = run(client, lengths, training=rows)
    assert job.status == "succeeded", job.error
    events = client.fine_tuning.jobs.list_events(job.id, limit=100)
    scores = [event.data["scores"]["graders"] for event in events if event.type == "metrics" and event.data["step"] > 0]
    means = [grader["train_reward_mean"] for step in scores for grader in step if grader["type"] == "code"]
    assert len(means) == 2
    assert all(0 < mean <= 0.5 for mean in means), "a bare number is a program that prints nothing"
