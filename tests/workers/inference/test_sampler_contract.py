"""What every `Sampler` does. Run over Fettle's own, over the client of vLLM with Fettle's own at its other end, and,
where there is one (`make test-vllm`), over vLLM itself.
"""

import os
import sys
from pathlib import Path

import pytest
import torch

from fettle_workers.adapters.vllm_sampler import VllmSampler, VllmSettings
from fettle_workers.engine.model import load_policy
from fettle_workers.engine.parity import measure_parity
from fettle_workers.engine.sampler import Request, SamplingParams, TorchSampler

TORCH_CHILD = Path(__file__).parent / "vllm_children" / "torch_child.py"
VLLM_PYTHON = os.environ.get("FETTLE_TEST_VLLM_PYTHON", "")
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
def policy(tmp_path_factory, save_small_model):
    """One of the sizes that vLLM's attention on a CPU can do."""
    folder = save_small_model(tmp_path_factory.mktemp("contract") / "model", "qwen3", head_dim=32)
    policy = load_policy(folder, base_model_id="small", lora_rank=8)
    policy.folder = folder
    return policy


@pytest.fixture(
    scope="session",
    params=["torch", "client", pytest.param("vllm", marks=pytest.mark.vllm)],
)
def sampler(request, policy, tmp_path_factory, vllm_cache):
    if request.param == "torch":
        yield TorchSampler(policy, num_slots=8)
        return
    work = tmp_path_factory.mktemp(request.param)
    options = {"model": str(policy.folder), "revision": None, "cache": vllm_cache, "log": work / "log"}
    settings = (
        VllmSettings.of(Path(VLLM_PYTHON), **options)
        if request.param == "vllm"
        else VllmSettings(command=(sys.executable, str(TORCH_CHILD)), **options)
    )
    sampler = VllmSampler(policy, settings, fallback=Refuses(), events=Said())
    yield sampler
    sampler.close()


def sampled(sampler, requests, params):
    return {(c.request_index, c.sample_index): c for c in sampler.sample(requests, params)}


def test_each_seed_of_each_request_gets_one_completion(sampler):
    requests = [Request(PROMPTS[0], (1, 2, 3)), Request(PROMPTS[1], (4,)), Request(PROMPTS[2], (2**63 - 1, 0))]
    found = sampled(sampler, requests, SamplingParams(6, stop_ids=NO_STOP))
    assert found.keys() == {(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1)}
    assert all(len(c.ids) == len(c.logprobs) == 6 and c.finish_reason == "length" for c in found.values())
    assert len({c.ids for c in found.values()}) == 6


def test_nothing_asked_is_nothing_answered(sampler):
    assert list(sampler.sample([], SamplingParams(4))) == []
    assert list(sampler.sample([Request((65,), ())], SamplingParams(4))) == []


def test_a_prompt_without_tokens_is_refused(sampler):
    with pytest.raises(ValueError, match="no tokens"):
        list(sampler.sample([Request((), (1,))], SamplingParams(1)))


def test_more_prompt_tokens_than_are_read_at_once(sampler):
    """80 prompts of 40 tokens: vLLM on a CPU fails when it cuts a seeded prompt in two."""
    requests = [Request((65 + n, *range(60, 99)), (n, n + 1)) for n in range(80)]
    found = sampled(sampler, requests, SamplingParams(2, stop_ids=NO_STOP))
    assert len(found) == 160
    assert all(len(completion.ids) == 2 for completion in found.values())


def test_equal_seeds_give_equal_completions(sampler):
    requests, params = [Request(prompt, (5, 6)) for prompt in PROMPTS], SamplingParams(12, stop_ids=NO_STOP)
    first, second = (sampled(sampler, requests, params) for _ in range(2))
    assert {pair: c.ids for pair, c in first.items()} == {pair: c.ids for pair, c in second.items()}


def test_logprobs_are_the_trainers_of_the_distribution_sampled_from(sampler, policy, wake):
    wake(policy, seed=3)
    requests = [Request(prompt, (1,)) for prompt in PROMPTS]
    found = sampled(sampler, requests, SamplingParams(20, temperature=0.7, stop_ids=NO_STOP))
    parity = measure_parity(policy, PROMPTS, [found[i, 0] for i in range(3)], temperature=0.7)
    assert parity.num_tokens == 60
    assert parity.mean_difference < 1e-4
    assert parity.adapter_is_used


def test_top_p_leaves_the_nucleus_renormalised(sampler, policy):
    """Every probability told is the model's over the mass of the nucleus, and no token is from outside it."""
    [completion] = sampler.sample([Request(PROMPTS[1], (7,))], SamplingParams(24, top_p=0.6, stop_ids=NO_STOP))
    ids = torch.tensor([PROMPTS[1] + completion.ids])
    with torch.no_grad():
        all_LV = policy.logits(ids, torch.ones_like(ids)).softmax(-1)[0, len(PROMPTS[1]) - 1 : -1]
    for token, logprob, probabilities in zip(completion.ids, completion.logprobs, all_LV, strict=True):
        ordered = probabilities.sort(descending=True).values
        size = int((ordered.cumsum(0) < 0.6).sum()) + 1
        nucleus = float(ordered[:size].sum())
        assert float(probabilities[token]) >= float(ordered[size - 1]) - 1e-6
        assert logprob == pytest.approx(float((probabilities[token] / nucleus).log()), abs=1e-3)


def test_temperature_zero_takes_the_likeliest_and_tells_the_models_own_logprob(sampler, policy):
    [completion] = sampler.sample([Request(PROMPTS[0], (1,))], SamplingParams(10, temperature=0.0, stop_ids=NO_STOP))
    ids = torch.tensor([PROMPTS[0] + completion.ids])
    with torch.no_grad():
        logprobs_LV = policy.logits(ids, torch.ones_like(ids)).log_softmax(-1)[0, len(PROMPTS[0]) - 1 : -1]
    assert list(completion.ids) == logprobs_LV.argmax(-1).tolist()
    assert completion.logprobs == pytest.approx(logprobs_LV.max(-1).values.tolist(), abs=2e-4)


def test_a_stop_id_ends_a_completion_and_belongs_to_it(sampler):
    ask = [Request((65,), (1,))]
    [plain] = sampler.sample(ask, SamplingParams(12, stop_ids=NO_STOP))
    stop = plain.ids[4]
    [stopped] = sampler.sample(ask, SamplingParams(12, stop_ids=frozenset({stop})))
    assert stopped.ids == plain.ids[: plain.ids.index(stop) + 1]
    assert stopped.finish_reason == "stop"


def test_without_stop_ids_the_models_own_end_a_completion(sampler, policy):
    found = sampled(sampler, [Request((65, 66), tuple(range(64)))], SamplingParams(64)).values()
    stopped = [c for c in found if c.finish_reason == "stop"]
    assert stopped
    assert all(c.ids[-1] in policy.chat.eos_ids for c in stopped)
    assert not any(set(c.ids[:-1]) & policy.chat.eos_ids for c in found)


def test_each_request_may_have_its_own_params(sampler):
    own = SamplingParams(3, temperature=0.0, stop_ids=NO_STOP)
    requests = [Request((65,), (1, 2), own), Request((65,), (1, 2))]
    found = sampled(sampler, requests, SamplingParams(5, stop_ids=NO_STOP))
    assert [len(found[pair].ids) for pair in sorted(found)] == [3, 3, 5, 5]
    assert found[0, 0].ids == found[0, 1].ids != found[1, 0].ids[:3]


def test_the_policy_is_sampled_as_it_is_at_the_time_of_the_call(sampler, policy, wake):
    ask, greedy = [Request(PROMPTS[0], (1,))], SamplingParams(16, temperature=0.0, stop_ids=NO_STOP)
    answers = []
    for seed in (11, 12, 11):
        wake(policy, seed=seed, scale=0.5)
        answers += [c.ids for c in sampler.sample(ask, greedy)]
    with policy.reference():
        answers += [c.ids for c in sampler.sample(ask, greedy)]
    assert answers[0] == answers[2]
    assert len(set(answers)) == 3, "two adapters and the base: three different answers"


def test_a_caller_may_leave_before_the_end(sampler):
    params = SamplingParams(40, stop_ids=NO_STOP)
    running = sampler.sample([Request((65,), tuple(range(16)), SamplingParams(2)), Request((66,), (1,))], params)
    assert len(next(running).ids) <= 2
    running.close()
    assert sampled(sampler, [Request((66,), (1, 2))], SamplingParams(3)).keys() == {(0, 0), (0, 1)}
