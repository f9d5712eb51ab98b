"""The trainer program in several processes: a job goes as in one, and all of them end when one is gone or hangs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import distributed

from fettle_workers import launch
from fettle_workers.adapters.checkpoints import LocalCheckpoints
from fettle_workers.contract.events import EVENT
from fettle_workers.contract.internal import RunnerInput
from fettle_workers.engine.native import network as native
from fettle_workers.engine.train import train as train_job


@pytest.fixture
def start(model_folder, tmp_path):
    """The trainer program on a job, in so many processes."""
    models_file = tmp_path / "models.toml"
    models_file.write_text(f'[models."random"]\nsource = "{model_folder}"\n')
    command = [sys.executable, "-m", "fettle_workers.main", "--supervised", "--models-file", str(models_file)]
    started = []

    def start(job, work: Path, num_processes: int, *more: str) -> subprocess.Popen:
        shutil.copytree(tmp_path / "work" / "inputs", work / "inputs", dirs_exist_ok=True)
        newest = LocalCheckpoints(work).newest()
        resume_from = str(newest.relative_to(work)) if newest else None
        process = subprocess.Popen(
            [*command, "--processes", str(num_processes), *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        started.append(process)
        told = RunnerInput(spec=job.spec, work_dir=str(work), resume_from=resume_from)
        process.stdin.write(told.model_dump_json() + "\n")
        process.stdin.flush()
        return process

    yield start
    for process in started:
        for one in (*others(process), process):
            one.kill()


def others(process) -> list[psutil.Process]:
    return psutil.Process(process.pid).children() if process.poll() is None else []


def until(process, kind):
    for line in process.stdout:
        event = EVENT.validate_json(line)  # nothing else may be on standard output, and of every event one
        if event.type == kind:
            return event
    raise AssertionError(process.stderr.read())


def assert_same_run(work: Path, expected: Path, *, steps) -> None:
    """The same completions with the same rewards. Their logprobs, advantages and the adapter differ by rounding: by at
    most a hundredth of what training did to them."""
    for step in steps:
        folders = [folder / "checkpoints" / f"step-{step:06d}" for folder in (work, expected)]
        found, wanted = (pq.read_table(folder / "rollouts.parquet").to_pylist() for folder in folders)
        assert len(found) == len(wanted) > 0
        for one, other in zip(found, wanted, strict=True):
            assert one.keys() == other.keys()
            for name in one.keys() - {"logprobs", "advantage"}:
                assert one[name] == other[name], name
            assert one["logprobs"] == pytest.approx(other["logprobs"], abs=2e-5)
            assert one["advantage"] == pytest.approx(other["advantage"], abs=1e-9)
        adapters = [load_file(folder / "adapter" / "adapter_model.safetensors") for folder in folders]
        for name, tensor in adapters[0].items():
            torch.testing.assert_close(tensor, adapters[1][name], atol=1e-5, rtol=0)


# Small steps keep what rounds differently from turning into other tokens.
ASKED = {"lora_rank": 8, "learning_rate_multiplier": 0.1, "early_stopping": False}


def test_a_job_in_two_processes_goes_as_in_one_also_when_it_resumes_in_another_number(start, make_job, tmp_path):
    job, source, _ = make_job(max_steps=4, **ASKED)
    process = start(job, tmp_path / "two", 2)
    expected = train_job(job, source).selection
    found = until(process, "finished").selection
    assert process.wait(60) == 0
    assert_same_run(tmp_path / "two", tmp_path / "work", steps=(0, 2, 4))
    assert (found.chosen_step, found.verdict, found.gain) == (expected.chosen_step, expected.verdict, expected.gain)
    assert found.kl_nats == pytest.approx(expected.kl_nats, abs=1e-4)

    shutil.rmtree(tmp_path / "two" / "checkpoints" / "step-000004")
    job, source, _ = make_job(work=tmp_path / "two", resume=True, max_steps=4, **ASKED)
    assert job.first_step == 2
    assert train_job(job, source).selection.gain == expected.gain
    assert_same_run(tmp_path / "two", tmp_path / "work", steps=(4,))


def test_when_one_of_them_is_gone_all_end_and_the_job_says_why(start, make_job, tmp_path):
    job, _, _ = make_job(max_steps=10_000, **ASKED | {"eval_interval": 5000})
    process = start(job, tmp_path / "three", 3)
    until(process, "step")
    second, third = others(process)
    second.kill()
    said = "process 1 of the 3 that train this job ended with signal 9, so all of them end"
    told = until(process, "message")
    assert (told.level, told.code, told.message) == ("error", "process_lost", said)
    assert process.wait(60) == 4
    assert said in process.stderr.read()
    assert psutil.wait_procs([third], timeout=60)[1] == []


def test_a_spread_base_trains_as_a_whole_one_and_goes_on_after_a_kill(start, make_job, tmp_path, monkeypatch):
    job, source, _ = make_job(max_steps=4, **ASKED)
    process = start(job, tmp_path / "two", 2, "--parallelism", "fsdp")
    plan = until(process, "started").plan
    assert (plan["trainer_processes"], plan["parallelism"]) == (2, "fsdp")
    while until(process, "checkpoint").step < 2:
        pass
    (second,) = others(process)
    process.kill()
    assert psutil.wait_procs([second], timeout=60)[1] == []  # whose parent is gone

    process = start(job, tmp_path / "two", 2, "--parallelism", "fsdp")
    monkeypatch.setattr(native, "MERGED_WEIGHTS", 0)
    expected = train_job(job, source).selection
    assert until(process, "started").resumed_from_step == 2
    assert until(process, "finished").selection.gain == expected.gain
    assert process.wait(60) == 0
    assert_same_run(tmp_path / "two", tmp_path / "work", steps=(0, 2, 4))


def test_a_process_that_hangs_ends_the_job_at_the_silence_limit(start, make_job, tmp_path):
    job, _, _ = make_job(max_steps=10_000, **ASKED | {"eval_interval": 5000})
    process = start(job, tmp_path / "two", 2, "--parallelism", "fsdp", "--silence-limit", "5")
    until(process, "step")
    (second,) = others(process)
    second.suspend()
    told = until(process, "message")
    assert (told.level, told.code) == ("error", "process_lost")
    assert told.message.startswith("one of the 2 processes that train this job hangs, so all of them end: ")
    assert process.wait(60) == 4
    assert psutil.wait_procs([second], timeout=60)[1] == []


@pytest.mark.parametrize(
    ("rank", "inside", "raised_as"), [(1, True, launch.PassBroken), (1, False, MemoryError), (0, True, MemoryError)]
)
def test_a_process_that_fails_inside_a_pass_of_all_is_seen_to_end(tmp_path, monkeypatch, rank, inside, raised_as):
    """Elsewhere the others learn of the error; and the first process tells its own."""
    monkeypatch.setattr(distributed, "init_process_group", lambda *_, **__: None)
    distributed.FileStore(str(tmp_path / "meeting"), 2).set(f"here {1 - rank}", "")

    def fail():
        with launch._joined(launch.Place(rank, 2, tmp_path / "meeting"), 1.0) as processes:
            processes.is_in_turn = inside
            raise MemoryError

    with pytest.raises(raised_as):
        fail()


def test_there_is_one_process_a_visible_gpu_and_each_sees_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert (launch.num_processes(None), launch.num_processes(3)) == (1, 3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert launch.num_processes(None) == 2
    with pytest.raises(launch.LaunchError, match="3 trainer processes were asked for, and 2 GPUs are visible"):
        launch.num_processes(3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-6e1f")
    assert launch.own_gpu(1) == {"CUDA_VISIBLE_DEVICES": "GPU-6e1f"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert launch.own_gpu(1) == {"CUDA_VISIBLE_DEVICES": "1"}
