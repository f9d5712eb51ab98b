"""Processes die and users change their minds: no accepted job is lost, nothing runs twice, nothing is left behind."""

import json
import os
import signal
import time
from pathlib import Path

import httpx
import openai
import pytest

pytestmark = pytest.mark.e2e
DATA = Path(__file__).parents[2] / "examples" / "demo"
TIMEOUT_S = 240
TERMINAL = ("succeeded", "failed", "cancelled")


def client_of(platform):
    return openai.OpenAI(base_url=platform.base_url, api_key=platform.api_key)


def create(client, *, max_steps=12, suffix="x"):
    files = [
        client.files.create(file=(DATA / name).open("rb"), purpose="fine-tune").id
        for name in ("train.jsonl", "validation.jsonl")
    ]
    hyperparameters = {
        "batch_size": 4,
        "group_size": 8,
        "eval_interval": 3,
        "eval_samples": 1,
        "max_steps": max_steps,
        "early_stopping": False,
    }
    return client.fine_tuning.jobs.create(
        model="fettle-tiny",
        training_file=files[0],
        validation_file=files[1],
        seed=11,
        suffix=suffix,
        method={
            "type": "reinforcement",
            "reinforcement": {
                "grader": json.loads((DATA / "grader.json").read_text()),
                "hyperparameters": hyperparameters,
            },
        },
    ).id


def wait_until(client, job_id, condition, what):
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if condition(job):
            return job
        assert job.status not in TERMINAL, f"waited until {what}, but the job is {job.status}: {job.error}"
        time.sleep(0.05)
    raise TimeoutError(f"{what}: not within {TIMEOUT_S} s; the job is {job.status} {job.fettle}")


def wait_for_step(client, job_id, step):
    return wait_until(client, job_id, lambda job: (job.fettle.get("step") or 0) >= step, f"step {step}")


def wait_for_end(client, job_id):
    return wait_until(client, job_id, lambda job: job.status in TERMINAL, "the end")


def chosen(client, job):
    selection = client.get(f"/fettle/fine_tuning/jobs/{job.id}/selection", cast_to=dict)
    return selection["chosen_step"], selection["chosen_adapter_digest"], selection["chosen_mean"]


def event_words(client, job_id):
    return " | ".join(event.message for event in client.fine_tuning.jobs.list_events(job_id, limit=100))


def children_of(pid):
    """Process ids below `pid`, from /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(entry.parent.name))
    return found


def trainer_of(pid):
    for child in children_of(pid):
        try:
            if b"fettle_workers.main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
        except OSError:
            continue
    return None


def wait_for_next_trainer(server):
    """Until the trainer of a job that nobody asked for yet has loaded its libraries."""
    deadline = time.monotonic() + TIMEOUT_S
    while not ((pid := trainer_of(server)) and "libtorch" in Path(f"/proc/{pid}/maps").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for_death(pids):
    deadline = time.monotonic() + 10
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still alive: {[pid for pid in pids if is_alive(pid)]}"
        time.sleep(0.05)


@pytest.fixture
def undisturbed(embedded):
    """What the job ends with when nothing happens to it, on the same running platform."""

    def run(client, **options):
        return chosen(client, wait_for_end(client, create(client, **options)))

    return run


def test_a_killed_server_goes_on_where_it_was_and_ends_bit_identical(embedded, undisturbed):
    platform = embedded()
    client = client_of(platform)
    expected = undisturbed(client)

    job_id = create(client)
    wait_for_step(client, job_id, 5)
    server = platform.processes["up"]
    children = children_of(server.pid)
    assert len(children) == 2, "a trainer and a model server"
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    wait_for_death(children)

    platform = embedded()
    client = client_of(platform)
    job = wait_for_end(client, job_id)
    assert job.status == "succeeded", job.error
    assert chosen(client, job) == expected
    assert "goes on from its last checkpoint" in event_words(client, job_id)
    steps = [event.data["step"] for event in client.fine_tuning.jobs.list_events(job_id) if event.type == "metrics"]
    assert sorted(set(steps)) == list(range(13))


def test_a_killed_trainer_is_started_again(embedded, undisturbed):
    platform = embedded()
    client = client_of(platform)
    expected = undisturbed(client)
    job_id = create(client)
    wait_for_step(client, job_id, 4)
    os.kill(trainer_of(platform.processes["up"].pid), signal.SIGKILL)
    job = wait_for_end(client, job_id)
    assert job.status == "succeeded", job.error
    assert chosen(client, job) == expected
    assert "ended with status -9" in event_words(client, job_id)


def test_ctrl_c_hands_the_job_back_and_the_next_start_goes_on(embedded):
    platform = embedded()
    client = client_of(platform)
    job_id = create(client)
    wait_for_step(client, job_id, 2)
    server = platform.processes["up"]
    children = children_of(server.pid)
    headers = {"authorization": f"Bearer {platform.api_key}"}
    with httpx.stream("GET", f"{platform.base_url}/fettle/stream", headers=headers, timeout=60) as stream:
        lines = stream.iter_lines()
        assert any(line == "event: reset" for line in lines)
        server.send_signal(signal.SIGINT)
        list(lines)  # to its orderly end: one that is torn off raises
    assert server.wait(60) == 0
    assert "graceful shutdown exceeded" not in (platform.data_dir / "server.log").read_text()
    wait_for_death(children)

    platform = embedded()
    client = client_of(platform)
    assert wait_for_end(client, job_id).status == "succeeded"
    steps = [event.data["step"] for event in client.fine_tuning.jobs.list_events(job_id) if event.type == "metrics"]
    assert sorted(steps) == list(range(13)), "no step was done twice"

    server = platform.processes["up"]
    wait_for_next_trainer(server.pid)
    children = children_of(server.pid)
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    wait_for_death(children)


def test_pause_resume_and_cancel(embedded, undisturbed):
    platform = embedded()
    client = client_of(platform)
    expected = undisturbed(client)

    job_id = create(client)
    wait_for_step(client, job_id, 2)
    trainer = trainer_of(platform.processes["up"].pid)
    assert client.fine_tuning.jobs.pause(job_id).status in ("pausing", "paused")
    paused = wait_until(client, job_id, lambda job: job.status == "paused", "paused")
    wait_for_death([trainer])
    at_pause = paused.fettle["step"]
    snapshot = next(iter(client.fine_tuning.jobs.checkpoints.list(job_id)))
    assert snapshot.step_number == at_pause
    answer = client.chat.completions.create(
        model=snapshot.fine_tuned_model_checkpoint, messages=[{"role": "user", "content": "1 + 1"}], max_tokens=4
    )
    assert answer.usage.completion_tokens >= 1
    client.fine_tuning.jobs.resume(job_id)
    assert chosen(client, wait_for_end(client, job_id)) == expected

    with pytest.raises(openai.BadRequestError, match="succeeded"):
        client.fine_tuning.jobs.cancel(job_id)
    other = create(client, max_steps=500)
    wait_for_step(client, other, 1)
    client.fine_tuning.jobs.cancel(other)
    wait_until(client, other, lambda job: job.status == "cancelled", "cancelled")


def test_a_dead_worker_host_loses_no_job(separate, redis_url):
    """kill -9 of worker and trainer at once, as when a host is gone: the lease runs out and another worker goes on."""
    platform = separate(redis_url)
    client = client_of(platform)
    job_id = create(client)
    wait_for_step(client, job_id, 4)
    worker = platform.processes["worker"]
    trainer = trainer_of(worker.pid)
    for pid in (trainer, worker.pid):
        os.kill(pid, signal.SIGKILL)
    worker.wait()
    wait_for_death([trainer])

    platform.start_worker()
    job = wait_for_end(client, job_id)
    assert job.status == "succeeded", job.error
    assert "has not been heard of" in event_words(client, job_id)
    assert job.fettle["attempt"] > 1
