"""Every kind of grader trains the bundled model, in a whole platform: a step or two, graded by the real thing."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import openai
import pytest

import fettle
from fettle_graders.spec import GRADER_TYPES

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
TINY = ROOT / "workers" / "fettle_workers" / "base_models" / "fettle-tiny"
TIMEOUT_S = 240
OUTPUT, ANSWER = "{{sample.output_text}}", "{{item.answer}}"
JUDGED = [{"role": "user", "content": "{{item.answer}}? {{sample.output_text}}"}]
SHORT = {"max_completions_tokens": 200, "temperature": 1}


@pytest.fixture(scope="module")
def grading_service():
    """A user's own service on loopback, whose scores differ between answers."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(call)
            body = json.dumps({"score": sum(map(ord, call["sample"]["output_text"])) % 10 / 10}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/grade", asked
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def platform(shared_with, tmp_path_factory):
    """`fettle up` with a reward model and embeddings in its catalogue, and loopback allowed to endpoint graders."""
    import torch

    from fettle_workers.adapters.scorer import RewardModel

    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    RewardModel.load(TINY, new_head=True).save(folder / "rm")
    tables = {'reward_models."rm"': folder / "rm", 'embedding_models."default"': TINY}
    (folder / "models.toml").write_text("".join(f'[{name}]\nsource = "{path}"\n' for name, path in tables.items()))
    return shared_with(FETTLE_MODELS_FILE=str(folder / "models.toml"), FETTLE_EGRESS_ALLOW="127.0.0.0/8")


def multi(formula, **graders):
    return {"type": "multi", "graders": graders, "calculate_output": formula}


LABEL = {
    "type": "label_model",
    "model": "fettle-tiny",
    "input": JUDGED,
    "labels": ["good", "bad"],
    "passing_labels": ["good"],
    "sampling_params": SHORT,
}
NEAR = {"type": "text_similarity", "input": OUTPUT, "reference": ANSWER, "evaluation_metric": "fuzzy_match"}
KINDS = {
    "string_check": {"type": "string_check", "input": OUTPUT, "reference": ANSWER, "operation": "eq"},
    "text_similarity": NEAR,
    "math": {"type": "math", "reference": ANSWER},
    "json_schema": multi("valid + near", valid={"type": "json_schema", "json_schema": {"type": "integer"}}, near=NEAR),
    "regex": multi("ok + near", ok={"type": "regex", "pattern": r"(\d+)", "reference": ANSWER}, near=NEAR),
    "format": multi("ok + near", ok={"type": "format", "max_chars": 3, "forbidden": ["easy"]}, near=NEAR),
    "majority": {"type": "majority", "answer": "text", "canary": ANSWER},
    "python": {
        "type": "python",
        "source": "def grade(sample, item):\n    return sum(map(ord, sample['output_text'])) % 10 / 10\n",
    },
    "score_model": {
        "type": "score_model",
        "model": "fettle-tiny",
        "input": JUDGED,
        "range": [0, 10],
        "sampling_params": SHORT,
    },
    "label_model": multi("label + near", label=LABEL, near=NEAR),
    "reward_model": {"type": "reward_model", "model": "rm"},
    "process": {"type": "process", "model": "rm", "aggregate": "product"},
    "multi": {
        **multi("0.5 * right + 0.5 * near", right={"type": "math", "reference": ANSWER}, near=NEAR),
        "outcome": "right",
    },
}


def train(platform, grader):
    """A job of a few steps with this grader: its end, and the metrics of its steps."""
    client = openai.OpenAI(base_url=platform.base_url, api_key=platform.api_key)
    rows = [json.loads(line) for line in (ROOT / "examples" / "demo" / "train.jsonl").read_text().splitlines()][:6]
    files = [upload(client, rows[:4]), upload(client, rows[4:])]
    sizes = {"batch_size": 2, "group_size": 4, "eval_samples": 2, "eval_interval": 1, "max_steps": 1}
    job = client.fine_tuning.jobs.create(
        model="fettle-tiny",
        training_file=files[0],
        validation_file=files[1],
        seed=1,
        method={
            "type": "reinforcement",
            "reinforcement": {"grader": grader, "hyperparameters": sizes | {"max_completion_tokens": 32}},
        },
    )
    deadline = time.monotonic() + TIMEOUT_S
    while job.status not in ("succeeded", "failed", "cancelled"):
        assert time.monotonic() < deadline, f"{job.id} is {job.status} after {TIMEOUT_S} s"
        time.sleep(0.2)
        job = client.fine_tuning.jobs.retrieve(job.id)
    events = client.fine_tuning.jobs.list_events(job.id, limit=100).data
    return job, [event.data["fettle"] for event in events if "num_completions" in (event.data or {}).get("fettle", {})]


def upload(client, rows):
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    return client.files.create(file=("rows.jsonl", lines.encode()), purpose="fine-tune").id


def steps_of(kind, outcome):
    job, metrics = outcome
    # A model that is never rewarded has nothing to learn in one step: the platform says so, and graded all the same.
    assert job.status == "succeeded" or job.error.code == "no_learning_signal", (kind, job.error)
    assert metrics, f"{kind}: no step was reported"
    return metrics


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_trains_the_bundled_model(platform, kind):
    job, _ = outcome = train(platform, KINDS[kind])
    (step, *_) = steps_of(kind, outcome)
    assert step["num_completions"] >= 8
    used = job.fettle["judge_usage"].get("fettle-tiny", {"total_tokens": 0})
    assert (used["total_tokens"] > 0) == (kind in ("score_model", "label_model"))
    assert step["num_failed_grades"] <= step["num_completions"] / 2, step


def test_an_endpoint_trains_the_bundled_model(platform, grading_service):
    url, asked = grading_service
    (step, *_) = steps_of("endpoint", train(platform, {"type": "endpoint", "url": url}))
    assert step["num_failed_grades"] == 0
    assert {"sample", "item", "trace_id"} == asked[0].keys()
    assert "answer" in asked[0]["item"]


def test_the_lab_has_what_needs_torch_from_the_model_server(platform, tmp_path):
    """One answer, many, and attacks, with a reward model and with embeddings; the server's own process has neither."""
    client = fettle.Fettle(base_url=platform.base_url, api_key=platform.api_key)
    rows = [{"messages": [{"role": "user", "content": f"{n} + 2"}], "answer": str(n + 2)} for n in range(4)]
    patient = client.with_options(max_retries=20)  # until the model server has started
    patient.chat.completions.create(model="fettle-tiny", messages=rows[0]["messages"], max_tokens=1)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for grader in (KINDS["reward_model"], KINDS["process"], NEAR | {"evaluation_metric": "cosine"}):
        answer = client.fine_tuning.alpha.graders.run(grader=grader, model_sample="one\n\ntwo", item=rows[0])
        assert not [flag for flag, raised in answer.metadata.errors.model_dump().items() if raised is True]
        tested = client.graders.test(grader, source={"type": "reference", "template": ANSWER}, data=path)
        assert (tested.num_answers, tested.grading["num_failed"]) == (4, 0)
        attacked = client.graders.red_team(grader, gold=ANSWER, data=path)
        assert attacked.attacks
        assert attacked.grading["num_failed"] == 0


def test_every_kind_is_here() -> None:
    assert {*KINDS, "endpoint", "code"} == set(GRADER_TYPES)  # `code` needs rows of its own: its folder tests it
