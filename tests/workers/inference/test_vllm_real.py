"""vLLM itself (`make test-vllm`): other architectures, a killed child, many publishes. Whole jobs are in tests/e2e."""

import dataclasses
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from fettle_workers.adapters.vllm_sampler import VllmSampler, VllmSettings
from fettle_workers.engine.errors import JobFailed
from fettle_workers.engine.model import load_policy
from fettle_workers.engine.parity import measure_parity
from fettle_workers.engine.sampler import Request, SamplingParams, TorchSampler

pytestmark = pytest.mark.vllm
VLLM_PYTHON = os.environ.get("FETTLE_TEST_VLLM_PYTHON", "")
BUNDLED = Path(__file__).parents[3] / "workers" / "fettle_workers" / "base_models" / "fettle-tiny"
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


@pytest.fixture
def vllm(vllm_cache, tmp_path):
    made = []

    def make(policy, folder, *, fallback=None, **options):
        settings = VllmSettings.of(
            Path(VLLM_PYTHON), model=str(folder), revision=None, cache=vllm_cache, log=tmp_path / "log", **options
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
    child = psutil.Process(sampler._child.pid)
    assert not child.children(recursive=True), "nothing is left behind when it is killed"
    assert {connection.laddr.ip for connection in child.net_connections()} <= {"127.0.0.1"}, (
        "not reached from elsewhere"
    )


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


def test_a_killed_vllm_costs_no_completion_and_one_that_grew_is_replaced(vllm, save_small_model, tmp_path, wake):
    folder = save_small_model(tmp_path / "model", "qwen3", head_dim=32)
    policy = load_policy(folder, base_model_id="small")
    wake(policy, scale=0.5)
    sampler = vllm(policy, folder)
    running = sampler.sample([Request((65, 66), tuple(range(12)))], SamplingParams(48))
    found = [next(running)]
    os.kill(sampler._child.pid, signal.SIGKILL)
    found += running
    assert sorted(c.sample_index for c in found) == list(range(12))
    assert sampler.num_starts == 2
    assert any("ended with status -9" in message for message in sampler._events.messages)

    ask, greedy = [Request(PROMPTS[0], (1, 2))], SamplingParams(16, temperature=0.0, stop_ids=NO_STOP)
    before, small = sampled(sampler, ask, greedy), sampler._child.pid
    sampler.rss_bytes += sampler.settings.max_growth_bytes + 1
    assert [c.ids for c in sampled(sampler, ask, greedy)] == [c.ids for c in before], "the new one has the adapter"
    assert not psutil.pid_exists(small)
    assert sampler.num_starts == 3
    assert sampler._versions.version == 1
    assert any("grew by 2.0 GiB and is started anew" in message for message in sampler._events.messages)


def test_too_little_memory_ends_the_job_as_such(vllm, save_small_model, tmp_path):
    """Enough for vLLM's own 0.9 GB, and not for the gibibyte of its cache beside it."""
    folder = save_small_model(tmp_path / "model", "qwen3", head_dim=32)
    sampler = vllm(load_policy(folder, base_model_id="small"), folder)
    tight = ("prlimit", "--data=1500000000", *sampler.settings.command)
    sampler.settings = dataclasses.replace(sampler.settings, command=tight)
    with pytest.raises(JobFailed, match="The memory is too small for vLLM beside the trainer") as failed:
        sampled(sampler, [Request((65, 66), (1, 2))], SamplingParams(8))
    print(failed.value.message)
    assert failed.value.code == "out_of_memory"
    assert sampler.num_starts == 1


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
