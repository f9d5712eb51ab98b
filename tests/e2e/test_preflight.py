"""Look before a job, on the bundled model: the verdict, and a job that takes the answers over."""

import json
import time
from pathlib import Path

import openai
import pytest

pytestmark = pytest.mark.e2e
DATA = Path(__file__).parents[2] / "examples" / "add"
SETTINGS = {"max_steps": 2, "eval_interval": 2, "eval_samples": 2}


@pytest.fixture
def client(embedded):
    platform = embedded()
    with openai.OpenAI(base_url=platform.base_url, api_key=platform.api_key) as made:
        yield made


def upload(client, name):
    return client.files.create(file=DATA / name, purpose="fine-tune").id


def ended(client, path):
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        found = client.get(path, cast_to=object)
        if found["status"] in ("succeeded", "failed", "cancelled"):
            return found
        time.sleep(0.5)
    raise AssertionError(f"{path} did not end: {found}")


def test_a_job_with_a_preflights_answers_ends_with_the_same_bytes(client):
    body = {
        "model": "fettle-tiny",
        "training_file": upload(client, "train.jsonl"),
        "validation_file": upload(client, "validation.jsonl"),
        "seed": 5,
        "method": {
            "type": "reinforcement",
            "reinforcement": {"grader": json.loads((DATA / "grader.json").read_text()), "hyperparameters": SETTINGS},
        },
    }
    # The model server starts beside the API, and a little later; the client waits as the 503 says.
    foreseen = client.with_options(max_retries=20).post("/fettle/plan", cast_to=object, body=body)
    asked = body | {"num_rows": 24, "samples_per_row": 8}
    preflight = client.post("/fettle/preflight", cast_to=object, body=asked)
    preflight = ended(client, f"/fettle/preflight/{preflight['id']}")
    assert preflight["status"] == "succeeded", preflight["error"]
    report = preflight["report"]
    assert sum(report["counts"][state] for state in ("dead", "teachable", "solved", "ungraded")) == 24
    assert (report["num_answers"], len(report["rows"])) == (192, 24)
    assert preflight["verdict"] == "ready", report["findings"]
    assert report["held_out"]["num_items"] == preflight["plan"]["select_items"]
    assert client.fine_tuning.jobs.list().data == []

    jobs = {}
    for name, fettle in {"with": {"preflight_id": preflight["id"]}, "without": {}}.items():
        made = client.post("/fine_tuning/jobs", cast_to=object, body=body | {"fettle": fettle})
        jobs[name] = ended(client, f"/fine_tuning/jobs/{made['id']}")
        assert jobs[name]["status"] == "succeeded", jobs[name]["error"]
    assert foreseen["plan"] == jobs["without"]["fettle"]["plan"]
    assert set(foreseen["reasons"]) == {
        name for name, value in jobs["without"]["fettle"]["requested"].items() if value == "auto"
    }
    digests = {
        name: [
            (point["step_number"], point["fettle"]["adapter_digest"])
            for point in client.get(f"/fine_tuning/jobs/{job['id']}/checkpoints", cast_to=object)["data"]
        ]
        for name, job in jobs.items()
    }
    assert digests["with"] == digests["without"]
    assert [step for step, _ in digests["with"]] == [2, 0]
    assert jobs["with"]["fettle"]["selection"] == jobs["without"]["fettle"]["selection"]
    said = [event.message for event in client.fine_tuning.jobs.list_events(jobs["with"]["id"], limit=100)]
    assert any("takes over 200 graded answers" in message for message in said), said
