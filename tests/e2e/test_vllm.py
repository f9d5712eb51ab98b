"""Jobs on a platform whose worker samples with vLLM (`make test-vllm`): they learn, survive kills and leave nothing."""

import json
import os
import time
from pathlib import Path

import openai
import psutil
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.vllm, pytest.mark.timeout(1200)]
DEMO = Path(__file__).parents[2] / "examples" / "demo"
TIMEOUT_S = 400  # vLLM starts more than once, each time in up to a minute on a busy machine
TERMINAL = ("succeeded", "failed", "cancelled")


@pytest.fixture(scope="module")
def platform(shared_with):
    return shared_with(FETTLE_VLLM_PYTHON=os.environ.get("FETTLE_TEST_VLLM_PYTHON", ""))


@pytest.fixture(scope="module")
def client(platform):
    with openai.OpenAI(base_url=platform.base_url, api_key=platform.api_key) as made:
        yield made


def create(client, **hyperparameters):
    training, validation = (
        client.files.create(file=DEMO / name, purpose="fine-tune").id for name in ("train.jsonl", "validation.jsonl")
    )
    grader = json.loads((DEMO / "grader.json").read_text())
    return client.fine_tuning.jobs.create(
        model="fettle-tiny",
        training_file=training,
        validation_file=validation,
        seed=1,
        method={"type": "reinforcement", "reinforcement": {"grader": grader, "hyperparameters": hyperparameters}},
    ).id


def wait_until(client, job_id, condition, what):
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if condition(job):
            return job
        assert job.status not in TERMINAL, f"waited until {what}, but the job is {job.status}: {job.error}"
        time.sleep(0.5)
    raise TimeoutError(f"{what}: not within {TIMEOUT_S} s; the job is {job.status} {job.fettle}")


def wait_for_step(client, job_id, step):
    wait_until(client, job_id, lambda job: (job.fettle.get("step") or 0) >= step, f"step {step}")


def wait_for_end(client, job_id):
    return wait_until(client, job_id, lambda job: job.status in TERMINAL, "the end")


def events_of(client, job_id):
    events = list(client.fine_tuning.jobs.list_events(job_id, limit=100))
    return (
        [event.data for event in events if event.type == "metrics"],
        " | ".join(event.message for event in reversed(events) if event.type == "message"),
    )


def vllm_of(platform):
    """vLLM's process. Its parent is the trainer."""
    server = psutil.Process(platform.processes["up"].pid)
    [found] = [process for process in server.children(recursive=True) if "vllm_child" in " ".join(process.cmdline())]
    return found


def wait_for_death(*processes):
    deadline = time.monotonic() + 10
    while alive := [process for process in processes if is_alive(process)]:
        assert time.monotonic() < deadline, f"still alive: {alive}"
        time.sleep(0.05)


def is_alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE  # of which nothing is left but a number
    except psutil.NoSuchProcess:
        return False


def test_a_job_learns_with_vllm_and_no_process_is_left(platform, client):
    job_id = create(client, max_steps=20, eval_interval=10, eval_samples=2, early_stopping=False)
    wait_for_step(client, job_id, 5)
    vllm = vllm_of(platform)
    job = wait_for_end(client, job_id)

    steps, words = events_of(client, job_id)
    trained = [step for step in steps if step["step"] > 0]
    print(words, job.fettle, sep="\n")
    assert job.status == "succeeded", job.error
    assert job.fettle["verdict"] == "improved"
    assert len(trained) == 20
    mismatch = [step["fettle"].get("mismatch_kl_nats") or 0.0 for step in trained]
    print("mismatch of sampler and learner", mismatch[::5], "seconds a step", [s["timing"] for s in trained][::5])
    assert max(mismatch) < 1e-4
    assert "Completions come from vLLM" in words
    assert "differ more than they should" not in words
    assert "disagree" not in words
    assert "started anew" not in words
    wait_for_death(vllm)


def test_kills_of_vllm_and_of_the_trainer_lose_no_step_and_leave_no_process(platform, client):
    job_id = create(client, max_steps=12, eval_interval=3, eval_samples=1, batch_size=4, early_stopping=False)
    wait_for_step(client, job_id, 3)
    first = vllm_of(platform)
    first.kill()
    wait_for_step(client, job_id, 6)
    second = vllm_of(platform)
    trainer = second.parent()
    adapters = Path(second.environ()["TMPDIR"]).parent
    assert second.pid != first.pid
    assert adapters.is_dir()
    trainer.kill()
    wait_for_death(trainer, second)
    job = wait_for_end(client, job_id)

    steps, words = events_of(client, job_id)
    print(words)
    assert job.status == "succeeded", job.error
    assert "vLLM ended with status -9" in words
    assert "It is started anew" in words
    assert "goes on from its last checkpoint" in words
    assert sorted({step["step"] for step in steps}) == list(range(13))
    assert not adapters.exists(), "the next trainer removes what the killed one left on the RAM disk"
