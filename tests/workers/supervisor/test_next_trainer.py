"""The trainer that is started before its job is there, with real child processes."""

import os
import queue
import subprocess
import sys
import time

import psutil
import pytest

from fettle_workers.contract.internal import RunnerInput
from fettle_workers.contract.spec import TrainSpec
from fettle_workers.supervisor.next_trainer import NextTrainer

# Answers its job with its own process id.
TRAINER = """
import json, os, sys
print("I wait", file=sys.stderr, flush=True)
job = json.loads(sys.stdin.readline())
print(json.dumps({"type": "message", "message": str(os.getpid())}), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "engine.py").write_text("x = 1")
    return tmp_path / "package"


@pytest.fixture
def trainers(tmp_path, sources):
    command = [sys.executable, "-c", TRAINER]
    made = NextTrainer(command, threads=1, folder=tmp_path / "scratch", sources=[sources])
    yield made
    made.close()


@pytest.fixture
def ask(tmp_path, spec):
    """Give a trainer a job; its process id, by its own words."""
    taken = []

    def answer(trainer):
        work = tmp_path / f"work{len(taken)}"
        work.mkdir()
        taken.append(trainer)
        events = queue.Queue()
        job = RunnerInput(spec=TrainSpec.model_validate(spec), work_dir=str(work))
        trainer.begin(job, on_event=events.put, on_exit=lambda: None)
        return int(events.get(timeout=30).message)

    yield answer
    for trainer in taken:
        trainer.kill()
        trainer.wait()


def waiting_children():
    """Of this process's children: other tests may have left some of their own."""
    alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in alive if TRAINER in child.cmdline()]


def waiting_child():
    wait_until(waiting_children)  # one that was started just now may not have its command line yet
    (child,) = waiting_children()
    return child


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_waiting_trainer_gets_the_next_job_and_no_second(trainers, ask):
    trainers.prepare()
    waiting = waiting_child().pid
    trainers.prepare()
    assert waiting_child().pid == waiting, "there is one already"
    first, second = trainers.take(), trainers.take()
    assert ask(first) == waiting
    assert ask(second) != waiting


def test_its_log_moves_to_the_work_folder_of_its_job(trainers, ask, tmp_path):
    trainers.prepare()
    (log,) = (tmp_path / "scratch").iterdir()
    wait_until(lambda: "I wait" in log.read_text())
    trainer = trainers.take()
    ask(trainer)
    assert trainer.last_words() == "I wait"
    assert trainer.log == tmp_path / "work0" / "trainer.log"
    assert not list((tmp_path / "scratch").iterdir())


def test_one_that_died_is_replaced(trainers, ask):
    trainers.prepare()
    dead = waiting_child()
    dead.kill()
    wait_until(lambda: dead.status() == psutil.STATUS_ZOMBIE)
    assert ask(trainers.take()) != dead.pid


def test_one_that_is_older_than_the_code_is_replaced(trainers, ask, sources):
    trainers.prepare()
    old = waiting_child()
    file = sources / "engine.py"
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    assert ask(trainers.take()) != old.pid
    assert not old.is_running()


def test_nothing_waits_after_the_worker_ended(trainers):
    trainers.prepare()
    child = waiting_child()
    trainers.close()
    trainers.prepare()
    assert not child.is_running()
    assert not waiting_children()


WORKER = """
import sys
from pathlib import Path
from fettle_workers.env import WorkerSettings
from fettle_workers.supervisor.next_trainer import NextTrainer
from fettle_workers.supervisor.trainer import trainer_command
trainers = NextTrainer(trainer_command(WorkerSettings()), threads=1, folder=Path(sys.argv[1]))
trainers.prepare()
print("prepared", flush=True)
sys.stdin.read()
"""


def test_fettles_own_trainer_without_a_job_ends_when_its_worker_is_killed(tmp_path):
    """While it loads its libraries; tests/e2e/test_interruptions.py kills a server whose trainer has them."""
    command = [sys.executable, "-c", WORKER, tmp_path]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdout.readline() == "prepared\n"
    (trainer,) = psutil.Process(worker.pid).children()
    worker.kill()
    worker.wait()
    wait_until(lambda: not trainer.is_running())
