"""An RFT job as a user of the official `openai` client runs it, in any release of it. Nothing here is Fettle's.

Usage: official_client_walk.py BASE_URL API_KEY FOLDER_WITH_DATA. Prints one JSON object of what was seen.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import openai

TIMEOUT_S = 300


def walk(base_url: str, api_key: str, data: Path) -> dict:
    client = openai.OpenAI(base_url=base_url, api_key=api_key)
    seen: dict = {"openai": openai.__version__}

    training, validation = (
        client.files.create(file=(data / name).open("rb"), purpose="fine-tune")
        for name in ("train.jsonl", "validation.jsonl")
    )
    client.files.wait_for_processing(training.id, poll_interval=0.1)
    seen["files"] = sorted(file.filename for file in client.files.list(purpose="fine-tune"))
    assert client.files.content(training.id).read() == (data / "train.jsonl").read_bytes()

    grader = json.loads((data / "grader.json").read_text())
    assert client.fine_tuning.alpha.graders.validate(grader=grader).grader is not None
    graded = client.fine_tuning.alpha.graders.run(grader=grader, model_sample="5", item={"answer": "5"})
    seen["grade"] = graded.reward

    hyperparameters = {"batch_size": 4, "group_size": 8, "eval_interval": 2, "max_steps": 6, "eval_samples": 1}
    job = client.fine_tuning.jobs.create(
        model="fettle-tiny",
        training_file=training.id,
        validation_file=validation.id,
        seed=7,
        suffix="walk",
        metadata={"team": "e2e"},
        method={
            "type": "reinforcement",
            "reinforcement": {"grader": grader, "hyperparameters": hyperparameters},
        },
    )
    seen["first_status"] = job.status
    seen["job"] = follow(client, job.id)
    finished = client.fine_tuning.jobs.retrieve(job.id)
    assert next(iter(client.fine_tuning.jobs.list(metadata={"team": "e2e"}))).id == job.id

    events = list(client.fine_tuning.jobs.list_events(job.id))
    seen["event_types"] = sorted({event.type for event in events})
    seen["metric_steps"] = sorted(event.data["step"] for event in events if event.type == "metrics")
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    seen["checkpoints"] = [point.step_number for point in checkpoints]
    results = client.files.content(finished.result_files[0]).read().decode()
    seen["csv_header"] = results.splitlines()[0].split(",")[:3]
    seen["csv_rows"] = len(results.splitlines()) - 1

    messages = [{"role": "user", "content": "What is 12 + 30?"}]
    options = {"messages": messages, "temperature": 0, "max_tokens": 64}
    whole = client.chat.completions.create(model=finished.fine_tuned_model, **options)
    streamed = client.chat.completions.create(model=finished.fine_tuned_model, stream=True, **options)
    pieces = [chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices]
    seen["answer"] = whole.choices[0].message.content
    assert "".join(pieces) == seen["answer"]
    assert whole.model == finished.fine_tuned_model
    point = client.chat.completions.create(model=checkpoints[0].fine_tuned_model_checkpoint, **options)
    seen["checkpoint_answer"] = point.choices[0].message.content
    many = client.chat.completions.create(
        model="fettle-tiny", messages=messages, n=3, seed=1, max_tokens=8, logprobs=True
    )
    seen["n"] = [len(choice.logprobs.content) > 0 for choice in many.choices]

    seen["models"] = sorted(model.id for model in client.models.list())
    seen["fine_tuned_model"] = finished.fine_tuned_model
    seen["retrieved"] = client.models.retrieve(finished.fine_tuned_model).id
    return seen


def follow(client: openai.OpenAI, job_id: str) -> dict:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if job.status in ("succeeded", "failed", "cancelled"):
            return job.to_dict()
        time.sleep(0.2)
    raise TimeoutError(f"job {job_id} did not end within {TIMEOUT_S} s")


if __name__ == "__main__":
    print(json.dumps(walk(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
