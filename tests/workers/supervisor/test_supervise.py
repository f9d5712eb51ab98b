"""The supervisor against a control plane over HTTP, a store on disk and trainers that are real child processes."""

import json
import os
import subprocess
import sys
import textwrap
import threading

import pytest

from fettle_workers.env import WorkerSettings
from fettle_workers.store import open_store
from fettle_workers.supervisor.next_trainer import NextTrainer
from fettle_workers.supervisor.supervise import supervise
from fettle_workers.supervisor.trainer import trainer_command

PREAMBLE = """
import hashlib, json, os, pathlib, sys
job = json.loads(sys.stdin.readline())
work = pathlib.Path(job["work_dir"])
def say(**event):
    os.write(1, json.dumps(event).encode() + b"\\n")
def command():
    line = sys.stdin.readline()
    if not line:
        sys.exit(9)
    return json.loads(line)["command"]
def checkpoint(step, content):
    folder = work / f"checkpoints/step-{step:06d}"
    files = {}
    for name in ("adapter/adapter_config.json", "adapter/adapter_model.safetensors", "state.json"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content + name.encode())
        data = path.read_bytes()
        files[name] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    digest = f"digest{step}"
    manifest = {"step": step, "adapter_digest": digest, "files": files, "candidates": {str(step): digest}}
    say(type="checkpoint", step=step, directory=f"checkpoints/step-{step:06d}", manifest=manifest, candidate=True)
def final_rollouts(content):
    path = work / "checkpoints/final/rollouts.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    entry = {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    say(type="rollouts", directory="checkpoints/final", name="rollouts.parquet", entry=entry, first_step=0,
        last_step=9, num_rollouts=2)
def step(number):
    say(type="step", metrics={"step": number, "total_steps": 9, "epoch": 0.0, "lr": 0.1})
"""


@pytest.fixture
def run(control_plane, spec, tmp_path):
    """Supervise attempt 1 with a trainer written as Python source; returns when the supervisor does."""
    data = open_store(f"file://{tmp_path}/store").put("files/file-1", b'{"messages": []}\n')
    spec["training_file"].update(sha256=data.sha256, size_bytes=data.size_bytes)
    settings = WorkerSettings(
        control_plane_url=control_plane.url,
        worker_token="workers",
        data_dir=tmp_path,
        heartbeat_s=0.05,
        preempt_grace_s=5,
    )
    stop = threading.Event()

    def supervised(source, *, attempt=1, **changed):
        command = [sys.executable, "-c", PREAMBLE + textwrap.dedent(source)]
        trainers = NextTrainer(command, threads=1, folder=settings.scratch)
        asked = settings.model_copy(update=changed)
        supervise("ftjob-1", attempt, settings=asked, stop=stop, trainers=trainers)

    supervised.stop = stop
    supervised.store = open_store(f"file://{tmp_path}/store")
    supervised.scratch = tmp_path / "work" / "ftjob-1"
    return supervised


def test_events_arrive_in_order_and_numbered(run, control_plane):
    run("""
        for number in range(1, 251):
            step(number)
        say(type="failed", code="no_learning_signal", message="nothing to learn")
    """)
    assert sorted(control_plane.events) == list(range(1, 252))
    assert [control_plane.events[n]["metrics"]["step"] for n in range(1, 251)] == list(range(1, 251))
    assert control_plane.kinds[-1] == "failed"
    assert control_plane.releases == []
    assert not list(run.scratch.glob("*"))


def test_a_refused_claim_starts_nothing(run, control_plane, tmp_path):
    run("pathlib.Path('started').touch()", attempt=2)
    assert control_plane.posts == []
    assert not run.scratch.exists()


def test_a_checkpoint_is_in_the_store_before_its_event_arrives(run, control_plane):
    found = []
    control_plane.on_event = lambda event: found.extend(run.store.list("")) if event["type"] == "checkpoint" else None
    run("""
        checkpoint(3, b"three")
        say(type="stopped", reason="paused", step=3)
    """)
    event = control_plane.events[1]
    assert event["store_prefix"] == "jobs/ftjob-1/a1/step-000003"
    assert found == [
        "adapters/digest3/adapter_config.json",
        "adapters/digest3/adapter_model.safetensors",
        "adapters/digest3/manifest.json",
        "files/file-1",
        "jobs/ftjob-1/a1/step-000003/manifest.json",
        "jobs/ftjob-1/a1/step-000003/state.json",
    ]
    with run.store.open("adapters/digest3/manifest.json") as stream:
        manifest = json.loads(stream.read())
    assert manifest["base_model"] == "fettle-tiny"
    assert set(manifest["files"]) == {"adapter_config.json", "adapter_model.safetensors"}


def test_final_rollouts_are_in_the_store_before_their_event_arrives(run, control_plane, tmp_path):
    jobs = tmp_path / "store" / "jobs"
    jobs.write_text("a file where the folder should be")  # the store is away at first
    found = []

    def notice(event):
        if jobs.is_file():
            jobs.unlink()
        if event["type"] == "rollouts":
            found.extend(run.store.list("jobs/"))

    control_plane.on_event = notice
    run("""
        final_rollouts(b"two answers")
        say(type="failed", code="internal_error", message="the end")
    """)
    assert control_plane.kinds == ["message", "message", "rollouts", "failed"]
    assert "storing the rollouts of the final measurements" in control_plane.events[1]["message"]
    assert control_plane.events[3]["store_prefix"] == "jobs/ftjob-1/a1/final"
    assert found == ["jobs/ftjob-1/a1/final/rollouts.parquet"]
    with run.store.open(found[0]) as stream:
        assert stream.read() == b"two answers"


def test_what_the_store_has_is_dropped_from_the_scratch_disk_but_for_adapters(run, control_plane):
    control_plane.on_event = lambda event: setattr(control_plane, "desired", "pause")
    run("""
        checkpoint(3, b"three")
        command()  # sent after the upload
        left = sorted(path.name for path in (work / "checkpoints/step-000003").rglob("*") if path.is_file())
        say(type="message", message=" ".join(left))
        say(type="stopped", reason="paused", step=3)
    """)
    assert control_plane.events[2]["message"] == "adapter_config.json adapter_model.safetensors"


def test_what_was_stored_comes_back_for_the_next_attempt(run, control_plane):
    run("""
        checkpoint(3, b"three")
        checkpoint(6, b"six")
        say(type="stopped", reason="paused", step=6)
    """)
    newest = control_plane.events[2]
    newest["manifest"]["candidates"] = {"3": "digest3", "6": "digest6"}
    control_plane.resume = {"step": 6, "store_prefix": newest["store_prefix"], "manifest": newest["manifest"]}
    control_plane.events.clear()
    run("""
        folder = work / job["resume_from"]
        assert (folder / "state.json").read_bytes() == b"sixstate.json"
        assert (work / "checkpoints/step-000003/adapter/adapter_config.json").exists()
        assert json.loads((folder / "manifest.json").read_text())["step"] == 6
        say(type="stopped", reason="paused", step=6)
    """)
    assert control_plane.kinds == ["stopped"]


@pytest.mark.parametrize(("desired", "reason"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_wish_reaches_the_trainer(run, control_plane, desired, reason):
    control_plane.on_event = lambda event: setattr(control_plane, "desired", desired)
    run(f"""
        step(1)
        assert command() == {desired!r}
        say(type="stopped", reason={reason!r}, step=1)
    """)
    assert control_plane.kinds == ["step", "stopped"]


def test_a_worker_that_ends_hands_the_job_back_at_a_step_boundary(run, control_plane):
    control_plane.on_event = lambda event: run.stop.set()
    run("""
        step(1)
        assert command() == "preempt"
        say(type="stopped", reason="preempted", step=1)
    """)
    assert control_plane.kinds == ["step", "stopped"]


def test_a_fenced_attempt_is_killed_and_says_nothing_more(run, control_plane):
    control_plane.on_event = lambda event: setattr(control_plane, "fenced", True)
    run("""
        step(1)
        command()
    """)
    assert control_plane.kinds == ["step"]
    assert control_plane.releases == []


def test_a_trainer_that_dies_is_reported_with_its_last_words(run, control_plane):
    run("""
        step(1)
        sys.exit("no space left on the device")
    """)
    (release,) = control_plane.releases
    assert release["outcome"] == "lost"
    assert "status 1" in release["message"]
    assert "no space left on the device" in release["message"]


def test_a_trainer_killed_by_the_system_is_reported(run, control_plane):
    run("os.kill(os.getpid(), 9)")
    assert "status -9" in control_plane.releases[0]["message"]


def test_an_answer_that_got_lost_repeats_the_same_numbers(run, control_plane):
    control_plane.failures = 2
    run("""
        step(1)
        say(type="stopped", reason="paused", step=1)
    """)
    assert control_plane.posts[0] == control_plane.posts[1] == control_plane.posts[2]
    assert control_plane.kinds == ["step", "stopped"]


def test_a_store_that_is_away_holds_the_checkpoint_until_it_is_back(run, control_plane, tmp_path):
    adapters = tmp_path / "store" / "adapters"
    adapters.write_text("a file where the folder should be")
    control_plane.on_event = lambda event: adapters.unlink() if adapters.is_file() else None
    run("""
        checkpoint(1, b"one")
        say(type="stopped", reason="paused", step=1)
    """)
    assert control_plane.kinds == ["message", "message", "checkpoint", "stopped"]
    assert "store is away while storing the checkpoint of step 1" in control_plane.events[1]["message"]
    assert control_plane.events[1]["level"] == "warn"
    assert run.store.exists("adapters/digest1/adapter_model.safetensors")


@pytest.mark.parametrize("end", ["cancel", "stop"])
def test_a_store_that_stays_away_keeps_nobody_from_ending_the_job(run, control_plane, tmp_path, end):
    (tmp_path / "store" / "adapters").write_text("a file where the folder should be")

    def on_event(event):
        if end == "cancel":
            control_plane.desired = "cancel"
        else:
            run.stop.set()

    control_plane.on_event = on_event
    run(
        """
        checkpoint(1, b"one")
        command()
        """,
        preempt_grace_s=0.3,
    )
    if end == "cancel":
        assert control_plane.kinds == ["message", "stopped"]
        assert control_plane.events[2]["reason"] == "cancelled"
    else:
        (release,) = control_plane.releases
        assert release["outcome"] == "requeue"
        assert "stayed away while storing the checkpoint of step 1" in release["message"]


def test_a_trainer_that_hangs_is_ended_and_its_job_goes_on_elsewhere(run, control_plane):
    run("command()", silence_limit_s=0.5)
    (release,) = control_plane.releases
    assert release["outcome"] == "lost"
    assert "it said nothing for 0.5 s" in release["message"]


def test_a_trainer_that_says_what_is_no_event_is_ended_with_those_words(run, control_plane):
    run("""
        os.write(1, b"some library's banner\\n")
        command()
    """)
    (release,) = control_plane.releases
    assert release["outcome"] == "lost"
    assert "some library's banner" in release["message"]


def test_a_corrupt_input_file_fails_the_job_in_words(run, control_plane):
    run.store.put("files/file-1", b"something else")
    run("step(1)")
    assert control_plane.kinds == ["failed"]
    assert "gone from the store" in control_plane.events[1]["message"]


def test_without_contact_the_trainer_is_stopped_before_the_lease_runs_out(run, control_plane):
    control_plane.lease_s = 1.0
    control_plane.on_event = lambda event: setattr(control_plane, "away", True)
    run("""
        step(1)
        command()
    """)
    assert control_plane.kinds == ["step"]
    assert control_plane.releases == []


def test_the_trainer_is_told_where_vllm_is(tmp_path):
    python = tmp_path / "python"
    python.touch(mode=0o755)
    settings = WorkerSettings(vllm_python=python, vllm_memory_share=0.5, data_dir=tmp_path)
    told = trainer_command(settings)[-6:]
    assert told == ["--vllm-python", str(python), "--vllm-memory-share", "0.5", "--vllm-cache", str(tmp_path / "cache")]
    assert "--vllm-python" not in trainer_command(WorkerSettings(data_dir=tmp_path))


def test_the_trainer_is_told_how_many_processes_train(tmp_path, monkeypatch):
    monkeypatch.setenv("FETTLE_TRAINER_PROCESSES", "2")
    monkeypatch.setenv("FETTLE_TRAINER_PARALLELISM", "fsdp")
    monkeypatch.setenv("FETTLE_SILENCE_LIMIT_S", "90")
    told = " ".join(trainer_command(WorkerSettings(data_dir=tmp_path)))
    assert " --processes 2 --parallelism fsdp --silence-limit 90.0" in told
    monkeypatch.delenv("FETTLE_TRAINER_PROCESSES")
    assert "--processes" not in trainer_command(WorkerSettings(data_dir=tmp_path))


@pytest.mark.parametrize("there", [False, True], ids=["nothing there", "not executable"])
def test_a_worker_whose_vllm_python_is_no_program_does_not_start_and_says_so(tmp_path, there):
    path = tmp_path / "python"
    if there:
        path.touch()
    command = [sys.executable, "-c", "from fettle_workers.celery import app"]
    done = subprocess.run(
        command, env=os.environ | {"FETTLE_VLLM_PYTHON": str(path)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "The worker cannot start:",
        f"  FETTLE_VLLM_PYTHON: {path} is no program; expected the `python` of an environment with vLLM",
    ]
