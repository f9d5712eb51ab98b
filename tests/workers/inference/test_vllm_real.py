"""vLLM itself (`make test-vllm`): other architectures, a killed child, many publishes, and a job that learns."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fettle_workers.adapters.vllm_sampler import VllmSampler, VllmSettings
from fettle_workers.contract.events import EVENT
from fettle_workers.engine.model import load_policy
from fettle_workers.engine.parity import measure_parity
from fettle_workers.engine.sampler import Request, SamplingParams, TorchSampler

pytestmark = pytest.mark.vllm
VLLM_PYTHON = os.environ.get("FETTLE_TEST_VLLM_PYTHON", "")
BUNDLED = Path(__file__).parents[3] / "workers" / "fettle_workers" / "base_models" / "fettle-tiny"
DEMO = Path(__file__).parents[3] / "examples" / "demo"
PROMPTS = [(72, 101, 108), (257, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75), (90,)]
NO_STOP: frozenset[int] = frozenset()


class Said:
    def __init__(self):
        self.messages = []

    def emit(self, event):
        self.messages.append(event.message)


class Refuses:
    def sample(self, requests, params):
        raise AssertionError("the fallback was asked")


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def vllm(cache, tmp_path):
    made = []

    def make(policy, folder, *, fallback=None, **options):
        settings = VllmSettings.of(
            Path(VLLM_PYTHON), model=str(folder), revision=None, cache=cache, log=tmp_path / "log", **options
        )
        made.append(VllmSampler(policy, settings, fallback=fallback or Refuses(), events=Said()))
        return made[-1]

    yield make
    for sampler in made:
        sampler.close()


def sampled(sampler, requests, params):
    return sorted(sampler.sample(requests, params), key=lambda c: (c.request_index, c.sample_index))


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_greedy_tokens_are_those_of_fettles_own_sampler(vllm, save_small_model, tmp_path, wake, architecture):
    folder = save_small_model(tmp_path / "model", architecture, head_dim=32, hidden_size=128)
    policy = load_policy(folder, base_model_id="small", lora_rank=16)
    wake(policy)
    requests, greedy = (
        [Request(prompt, (0,)) for prompt in PROMPTS],
        SamplingParams(24, temperature=0.0, stop_ids=NO_STOP),
    )
    sampler = vllm(policy, folder)
    found, expected = sampled(sampler, requests, greedy), sampled(TorchSampler(policy), requests, greedy)
    assert [c.ids for c in found] == [c.ids for c in expected]
    assert sampler.last_parity.mean_difference < 1e-4
    assert sampler.last_parity.adapter_is_used


def test_a_base_in_bfloat16_stays_within_the_comfortable_mismatch(vllm, save_small_model, tmp_path, wake):
    folder = save_small_model(tmp_path / "model", "qwen3", head_dim=32, hidden_size=128)
    policy = load_policy(folder, base_model_id="small", dtype="bfloat16")
    wake(policy)
    found = sampled(vllm(policy, folder), [Request(prompt, (1,)) for prompt in PROMPTS], SamplingParams(64))
    parity = measure_parity(policy, PROMPTS, found, temperature=1.0)
    print(f"bfloat16: {parity}")
    assert 1e-5 < parity.mean_difference < 0.1
    assert parity.k3 < 0.01


def test_an_architecture_without_lora_in_vllm_is_sampled_by_fettle(vllm, save_small_model, tmp_path):
    folder = save_small_model(tmp_path / "model", "gpt2", n_embd=64, n_head=2)
    policy = load_policy(folder, base_model_id="small")
    own = TorchSampler(policy)
    sampler = vllm(policy, folder, fallback=own)
    requests, params = [Request((65, 66), (1, 2))], SamplingParams(8)
    assert sampled(sampler, requests, params) == sampled(own, requests, params)
    [message] = sampler._events.messages
    print(message)
    assert "vLLM cannot serve 'small', so Fettle samples by itself" in message


def test_a_killed_vllm_costs_no_completion(vllm, save_small_model, tmp_path):
    folder = save_small_model(tmp_path / "model", "qwen3", head_dim=32)
    policy = load_policy(folder, base_model_id="small")
    sampler = vllm(policy, folder)
    running = sampler.sample([Request((65, 66), tuple(range(12)))], SamplingParams(48))
    found = [next(running)]
    os.kill(sampler._child.pid, signal.SIGKILL)
    found += running
    assert sorted(c.sample_index for c in found) == list(range(12))
    assert sampler.num_starts == 2
    assert any("ended with status -9" in message for message in sampler._events.messages)


def test_many_publishes_leave_memory_flat_and_the_base_as_it_was(vllm, tmp_path):
    """A new adapter before every call, as in training: 1000 of them, or as many as 150 s allow."""
    policy = load_policy(BUNDLED, base_model_id="fettle-tiny")
    digest = policy.base_digest
    sampler, ask, params = vllm(policy, BUNDLED), [Request((5, 6, 7), (1, 2))], SamplingParams(2)
    own = psutil.Process()
    tensors = policy.adapter_tensors()
    start, rss = time.monotonic(), {}
    for number in range(1, 1001):
        for name in tensors:
            if name.endswith("lora_B.weight"):
                tensors[name].fill_(1e-4 * (number % 7))
        policy.set_adapter_tensors(tensors)
        sampled(sampler, ask, params)
        rss[number] = (sampler.rss_bytes, own.memory_info().rss)
        if time.monotonic() - start > 150:
            break
    (vllm_first, own_first), (vllm_last, own_last) = rss[min(100, number)], rss[number]
    print(f"{number} publishes in {time.monotonic() - start:.0f} s; vLLM {vllm_first >> 20} -> {vllm_last >> 20} MiB")
    print(f"this process {own_first >> 20} -> {own_last >> 20} MiB; parity {sampler.last_parity}")
    assert number >= 200
    assert sampler._versions.version == number
    assert sampler.num_starts == 1
    assert vllm_last - vllm_first < 64 * 2**20
    assert own_last - own_first < 64 * 2**20
    assert len(list(sampler._versions.root.glob("v*"))) == 1
    del policy.base_digest  # cached
    assert policy.base_digest == digest
    assert sampler.last_parity.mean_difference < 1e-4


def data_ref(path):
    content = path.read_bytes()
    return {
        "file_id": path.name, "key": str(path), "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
    }  # fmt: skip


def test_a_job_learns_through_vllm_and_leaves_no_process(tmp_path, cache):
    spec = {
        "job_id": "job",
        "base_model": "fettle-tiny",
        "seed": 1,
        "method": {
            "type": "reinforcement",
            "grader": json.loads((DEMO / "grader.json").read_text()),
            "hyperparameters": {"max_steps": 30, "eval_interval": 15, "eval_samples": 2},
        },
        "training_file": data_ref(DEMO / "train.jsonl"),
        "validation_file": data_ref(DEMO / "validation.jsonl"),
    }
    command = [sys.executable, "-m", "fettle_workers.main", "--dir", str(tmp_path / "work")]
    command += ["--vllm-python", VLLM_PYTHON, "--vllm-cache", str(cache)]
    done = subprocess.run(
        command, input=json.dumps(spec), capture_output=True, text=True, timeout=550, check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    events = [EVENT.validate_json(line) for line in done.stdout.splitlines()]
    steps = [event.metrics for event in events if event.type == "step"]
    messages = [event.message for event in events if event.type == "message"]
    finished = events[-1]
    assert finished.type == "finished", finished
    print(*messages, finished.selection.verdict, finished.selection.gain, sep="\n")
    print("seconds sampling a step:", sorted(step.timing.sampling_s for step in steps)[len(steps) // 2])
    print("mismatch:", [step.mismatch_kl_nats for step in steps][::10])
    assert any("Completions come from vLLM" in message for message in messages)
    assert finished.selection.verdict == "improved"
    assert max(step.mismatch_kl_nats or 0.0 for step in steps) < 1e-4
    left = [p for p in psutil.process_iter(["cmdline"]) if "vllm_child" in " ".join(p.info["cmdline"] or ())]
    assert not [p for p in left if str(tmp_path) in str(p.environ())]
