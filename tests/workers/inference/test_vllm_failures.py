"""The client of vLLM when the other end fails: the step goes on, or the job ends in words, and nothing is left behind.

The other end is a script for a model whose every token is equally likely, so that its logprobs are the trainer's.
"""

import os
import sys
import time
import venv
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from fettle_workers.adapters.vllm_process import CHILD
from fettle_workers.adapters.vllm_sampler import VllmSampler, VllmSettings
from fettle_workers.engine.errors import JobFailed
from fettle_workers.engine.model import load_policy
from fettle_workers.engine.sampler import Request, SamplingParams, TorchSampler

BROKEN = Path(__file__).parent / "vllm_children" / "broken_child.py"
ASK = [Request((65, 66), (1, 2, 3, 4)), Request((67,), (5, 6))]
EVERY = {(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)}
PARAMS = SamplingParams(8)


class Said:
    def __init__(self):
        self.events = []

    def emit(self, event):
        self.events.append(event)

    @property
    def warnings(self):
        return [event.message for event in self.events if event.level == "warn"]


@pytest.fixture(scope="module")
def policy(tmp_path_factory, save_small_model):
    folder = save_small_model(tmp_path_factory.mktemp("flat") / "model", "qwen3")
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    tensors["lm_head.weight"].zero_()
    save_file(tensors, weights, metadata={"format": "pt"})
    return load_policy(folder, base_model_id="small", lora_rank=8)


@pytest.fixture
def client(policy, tmp_path):
    made = []

    def make(fault, **options):
        settings = VllmSettings(
            command=(sys.executable, "-I", str(BROKEN), fault, str(tmp_path / "notes")),
            model="flat", revision=None, cache=tmp_path / "cache", log=tmp_path / "vllm.log", **options,
        )  # fmt: skip
        made.append(VllmSampler(policy, settings, fallback=TorchSampler(policy), events=Said()))
        return made[-1]

    yield make
    for sampler in made:
        sampler.close()
        assert not sampler._versions.root.exists()


def sampled(sampler):
    return {(c.request_index, c.sample_index): c for c in sampler.sample(ASK, PARAMS)}


def test_a_child_in_order_needs_one_start_and_says_how_well_it_agrees(client):
    sampler = client("none")
    assert sampled(sampler).keys() == EVERY
    assert sampled(sampler).keys() == EVERY
    assert sampler.num_starts == 1
    [said] = sampler._events.events
    assert "Completions come from vLLM 0.32.0" in said.message
    assert sampler.last_parity.mean_difference < 1e-6
    assert sampler.last_parity.adapter_is_used is None, "of a flat model nobody can tell"


def test_a_crash_costs_a_restart_and_no_completion_twice(client):
    sampler = client("crash once")
    found = [(c.request_index, c.sample_index) for c in sampler.sample(ASK, PARAMS)]
    assert sorted(found) == sorted(EVERY)
    assert sampler.num_starts == 2
    [warning] = sampler._events.warnings
    assert "status 9" in warning
    assert "the kernel fell over" in warning
    assert "5 completions are sampled again" in warning
    assert sampled(sampler).keys() == EVERY
    assert sampler.num_starts == 2


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("crash", "the kernel fell over"),
        ("killed", r"status -9 \(killed, as the kernel does when memory runs out\): it wrote nothing"),
        ("hang", "said nothing for 1 s"),
        ("garbage", "a line that some library printed"),
        ("twice", "nobody waits for: \\(0, 0\\)"),
        ("leaves out", "left out 4 completions"),
        ("never starts", "said nothing for 1 s"),
    ],
)
def test_the_second_loss_in_one_step_ends_the_job_in_words(client, fault, words):
    sampler = client(fault, silence_s=1.0, start_s=1.0)
    with pytest.raises(JobFailed, match=words) as failed:
        sampled(sampler)
    assert failed.value.code == "internal_error"
    assert "lost twice in one step" in failed.value.message
    assert sampler.num_starts == 2
    assert len(sampler._events.warnings) == 1


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("old", "internal_error", "it has vLLM 0.9.1"),
        ("no memory", "out_of_memory", "FETTLE_VLLM_MEMORY_SHARE than 0.4"),
    ],
)
def test_what_a_restart_cannot_mend_ends_the_job_at_once(client, fault, code, words):
    sampler = client(fault)
    with pytest.raises(JobFailed, match=words) as failed:
        sampled(sampler)
    assert failed.value.code == code
    assert sampler.num_starts == 1


def test_no_python_there_is_told_with_its_path(policy, tmp_path):
    settings = VllmSettings.of(
        tmp_path / "no" / "python", model="flat", revision=None, cache=tmp_path, log=tmp_path / "log"
    )
    sampler = VllmSampler(policy, settings, fallback=TorchSampler(policy), events=Said())
    with pytest.raises(JobFailed, match="no/python: No such file"):
        sampled(sampler)
    sampler.close()


def test_an_environment_without_vllm_is_told(policy, tmp_path):
    """Fettle's real child, in an environment that has torch and no vLLM."""
    settings = VllmSettings.of(Path(sys.executable), model="flat", revision=None, cache=tmp_path, log=tmp_path / "log")
    sampler = VllmSampler(policy, settings, fallback=TorchSampler(policy), events=Said())
    with pytest.raises(JobFailed, match=r"vLLM cannot be imported by .*No module named 'vllm'"):
        sampled(sampler)
    sampler.close()


def test_an_older_vllm_is_told_with_its_version(policy, tmp_path):
    """Fettle's real child, in an environment with a package of that name and version."""
    venv.create(tmp_path / "old")
    package = next((tmp_path / "old" / "lib").glob("python3*")) / "site-packages" / "vllm"
    package.mkdir()
    (package / "__init__.py").write_text('__version__ = "0.31.4"')
    python = tmp_path / "old" / "bin" / "python"
    settings = VllmSettings.of(python, model="flat", revision=None, cache=tmp_path, log=tmp_path / "log")
    sampler = VllmSampler(policy, settings, fallback=TorchSampler(policy), events=Said())
    with pytest.raises(JobFailed, match=f"{python} has vLLM 0.31.4, needed is 0.32 or newer"):
        sampled(sampler)
    assert sampler.num_starts == 1
    sampler.close()


def test_a_program_that_is_no_python_is_told(policy, tmp_path):
    settings = VllmSettings.of(Path("/bin/true"), model="flat", revision=None, cache=tmp_path, log=tmp_path / "log")
    sampler = VllmSampler(policy, settings, fallback=TorchSampler(policy), events=Said())
    with pytest.raises(JobFailed, match=r"vLLM ended with status 0: it wrote nothing\. .*unset FETTLE_VLLM_PYTHON"):
        sampled(sampler)
    sampler.close()


def test_a_base_that_vllm_cannot_serve_is_sampled_by_fettle_and_told_once(client, policy):
    sampler = client("unservable")
    expected = {(c.request_index, c.sample_index): c for c in TorchSampler(policy).sample(ASK, PARAMS)}
    assert sampled(sampler) == expected
    assert sampled(sampler) == expected
    assert sampler.num_starts == 1
    [warning] = sampler._events.warnings
    assert "'small', so Fettle samples by itself" in warning
    assert "Mamba3" in warning


def test_disagreement_ends_the_job_after_one_more_publish(client):
    """Logprobs 0.8 too low: k3 = e^0.8 - 1.8 = 0.43."""
    sampler = client("wrong")
    with pytest.raises(JobFailed, match=r"by 0\.8 on average \(k3 0\.43 nats"):
        sampled(sampler)
    assert sampler._versions.version == 2


def test_disagreement_that_another_publish_mends_is_a_warning(client):
    sampler = client("wrong at first")
    assert sampled(sampler).keys() == EVERY
    assert sampler._versions.version == 2
    assert "published again" in sampler._events.warnings[0]
    assert len(sampler._events.warnings) == 1


def test_a_child_that_grew_is_replaced_between_calls(client):
    """100 MB a call: the probe is call 1, so 300 MB more than after it are there at call 4."""
    sampler = client("grows", max_growth_bytes=250_000_000)
    for _ in range(4):
        assert sampled(sampler).keys() == EVERY
    assert sampler.num_starts == 2
    assert any("grew by 0.3 GiB" in event.message for event in sampler._events.events)


def test_longer_completions_than_it_was_started_for_are_a_restart(client, policy, monkeypatch):
    monkeypatch.setattr("fettle_workers.adapters.vllm_sampler._MIN_LENGTH", 16)
    sampler = client("none")
    assert sampled(sampler).keys() == EVERY
    assert sampler._length == 16
    assert len(list(sampler.sample(ASK, SamplingParams(40)))) == 6
    assert (sampler.num_starts, sampler._length) == (2, 64)


def test_only_an_adapter_that_moved_is_published_and_the_last_one_is_kept(client, policy):
    sampler = client("none")
    for expected in (1, 1, 2, 3):
        if expected > 1:
            moved = {name: tensor + 1e-6 for name, tensor in policy.adapter_tensors().items()}
            policy.set_adapter_tensors(moved)
        sampled(sampler)
        assert [folder.name for folder in sampler._versions.root.glob("v*")] == [f"v{expected:06d}"]


def test_a_full_disk_ends_the_job_in_words(client, policy, monkeypatch):
    def full(folder):
        raise OSError(28, "No space left on device")

    sampler = client("none")
    monkeypatch.setattr(policy, "save_adapter", full)
    with pytest.raises(JobFailed, match=r"cannot be written to .*No space left"):
        sampled(sampler)


def is_running(pid):
    return Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def ends_within(seconds, pid):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not is_running(pid):
            return True
        time.sleep(0.05)
    return False


def test_no_child_outlives_its_sampler(client):
    sampler = client("none")
    sampled(sampler)
    pid = sampler._child.pid
    assert is_running(pid)
    sampler.close()
    assert not is_running(pid)


@pytest.mark.parametrize("held", [False, True], ids=["its input ends", "a third process holds its input"])
def test_the_real_child_leaves_when_its_parent_is_killed(tmp_path, held):
    """A killed parent closes nothing by itself; the third process is what a forked grader would be."""
    pid_file = tmp_path / "pids"
    script = f"""
import os, subprocess, sys, time
command = [sys.executable, "-I", {str(CHILD)!r}, str(os.getpid())]
child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
third = 0
if {held}:
    third = os.fork()
    if not third:
        time.sleep(60)
        os._exit(0)
with open({str(pid_file)!r} + ".half", "w") as file:
    file.write(f"{{child.pid}} {{third}}")
os.rename({str(pid_file)!r} + ".half", {str(pid_file)!r})
time.sleep(60)
"""
    parent = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", script])
    while not pid_file.exists():
        time.sleep(0.02)
    child, third = map(int, pid_file.read_text().split())
    try:
        assert is_running(child)
        os.kill(parent, 9)
        os.waitpid(parent, 0)
        assert ends_within(10, child)
        assert not held or is_running(third)
    finally:
        if third:
            os.kill(third, 9)


def test_after_a_reload_an_unmoved_adapter_is_published_and_compared_again(client):
    sampler = client("none")
    sampled(sampler)
    first, sampler.last_parity = sampler.last_parity, None
    sampler.reload()
    assert sampled(sampler).keys() == EVERY
    assert (sampler._versions.version, sampler.num_starts) == (2, 1)
    assert sampler.last_parity.k3 == pytest.approx(first.k3, abs=1e-6)
