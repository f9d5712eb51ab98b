from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from fettle_workers.engine.draw import uniforms
from fettle_workers.engine.sampler import Decoder, Request, Row, SamplingParams, TorchSampler

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "mamba")
# Convolution states beside attention; experts; learned positions with an end.
MORE_ARCHITECTURES = ("lfm2", "qwen3_moe", "gpt2")
PROMPTS = [(72, 101, 108), (257, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75), (90,)]


def sampled(policy, requests, params, **options):
    found = TorchSampler(policy, **options).sample(requests, params)
    return {(c.request_index, c.sample_index): c for c in found}


@pytest.mark.parametrize("architecture", ARCHITECTURES + MORE_ARCHITECTURES)
def test_greedy_tokens_are_those_of_transformers_generate(policy_of, model_folder, wake, architecture, tmp_path):
    policy = policy_of(architecture)
    wake(policy)
    policy.save_adapter(tmp_path)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model_folder(architecture)), tmp_path)
    found = sampled(
        policy, [Request(prompt, seeds=(0,)) for prompt in PROMPTS], SamplingParams(max_new_tokens=24, temperature=0.0)
    )
    for index, prompt in enumerate(PROMPTS):
        ids = torch.tensor([prompt])
        expected = (
            plain.eval()
            .generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)[
                0, len(prompt) :
            ]
            .tolist()
        )
        assert len(set(expected)) > 3, "a model that repeats itself would prove nothing"
        assert list(found[index, 0].ids) == expected


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logprobs_are_those_of_a_training_forward_pass(policy_of, wake, architecture):
    """What the learner computes for the sampled tokens must be what the sampler recorded."""
    policy = policy_of(architecture)
    wake(policy)
    requests = [Request(prompt, seeds=(1, 2, 3)) for prompt in PROMPTS]
    params = SamplingParams(max_new_tokens=20, temperature=0.7)
    for completion in sampled(policy, requests, params).values():
        prompt = requests[completion.request_index].prompt_ids
        ids = torch.tensor([prompt + completion.ids])
        with torch.no_grad():
            logprobs = (policy.logits(ids, torch.ones_like(ids)) / 0.7).log_softmax(-1)[0]
        expected = [float(logprobs[len(prompt) - 1 + i, token]) for i, token in enumerate(completion.ids)]
        assert completion.logprobs == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("architecture", ["qwen3", "gemma2"])
def test_merged_and_unmerged_weights_sample_the_same(policy_of, wake, architecture, monkeypatch):
    policy = policy_of(architecture)
    wake(policy)
    requests, params = [Request(prompt, seeds=(1, 2)) for prompt in PROMPTS], SamplingParams(max_new_tokens=20)
    merged = sampled(policy, requests, params)
    monkeypatch.setattr("fettle_workers.engine.generic.reader.MERGED_WEIGHTS", 0)
    monkeypatch.setattr("fettle_workers.engine.native.network.MERGED_WEIGHTS", 0)
    unmerged = sampled(policy, requests, params)
    assert {key: c.ids for key, c in merged.items()} == {key: c.ids for key, c in unmerged.items()}


def test_sampling_leaves_the_base_untouched_and_the_adapter_on(policy_of, wake):
    policy = policy_of()
    wake(policy)
    before, tensors = policy.base_digest, policy.adapter_tensors()
    sampled(policy, [Request((65, 66), seeds=(1,))], SamplingParams(max_new_tokens=5))
    del policy.__dict__["base_digest"]
    assert policy.base_digest == before
    assert not policy.network.adapter_off
    assert all(torch.equal(tensor, policy.adapter_tensors()[name]) for name, tensor in tensors.items())


def test_reference_samples_from_the_base(policy_of, wake):
    policy = policy_of()
    requests, params = [Request((65, 66), seeds=tuple(range(8)))], SamplingParams(max_new_tokens=12)
    untouched = sampled(policy, requests, params)
    wake(policy, scale=0.5)
    changed = sampled(policy, requests, params)
    with policy.reference():
        reference = sampled(policy, requests, params)
    assert [c.ids for c in reference.values()] == [c.ids for c in untouched.values()]
    assert [c.ids for c in changed.values()] != [c.ids for c in untouched.values()]


@pytest.mark.parametrize("architecture", ["qwen3", "gemma3_text", "mamba"])
def test_a_completion_does_not_depend_on_its_company(policy_of, wake, architecture):
    policy = policy_of(architecture)
    wake(policy)
    params = SamplingParams(max_new_tokens=24)
    requests = [Request(prompt, seeds=(10 * i, 10 * i + 1, 10 * i + 2)) for i, prompt in enumerate(PROMPTS)]
    together = sampled(policy, requests, params)
    in_few_slots = sampled(policy, requests, params, num_slots=4)
    for index, request in enumerate(requests):
        alone = sampled(policy, [Request(request.prompt_ids, seeds=request.seeds[1:2])], params)[0, 0]
        assert together[index, 1].ids == alone.ids == in_few_slots[index, 1].ids
        assert together[index, 1].logprobs == pytest.approx(alone.logprobs, abs=1e-4)


def test_equal_calls_give_equal_bits(policy_of, wake):
    policy = policy_of()
    wake(policy)
    requests = [Request(prompt, seeds=(1, 2, 3, 4)) for prompt in PROMPTS]
    params = SamplingParams(max_new_tokens=24, top_p=0.9)
    runs = [list(TorchSampler(policy, num_slots=5).sample(requests, params)) for _ in range(2)]
    assert runs[0] == runs[1]


def test_tokens_follow_the_distribution(policy_of):
    """First tokens of 4000 seeds against the exact probabilities: chi-squared below its 99.9 % point."""
    policy = policy_of()
    prompt, temperature = (65, 66, 67), 0.4
    found = sampled(policy, [Request(prompt, tuple(range(4000)))], SamplingParams(1, temperature), num_slots=4000)
    with torch.no_grad():
        logits = policy.logits(torch.tensor([prompt]), torch.ones(1, 3))[0, -1]
    expected = (logits / temperature).softmax(-1).numpy() * 4000
    counts = np.bincount([c.ids[0] for c in found.values()], minlength=264)
    large = expected > 10
    rest = (counts[~large].sum(), expected[~large].sum())
    chi_squared = ((counts[large] - expected[large]) ** 2 / expected[large]).sum() + (rest[0] - rest[1]) ** 2 / rest[1]
    num_cells = large.sum() + 1
    assert num_cells > 5
    assert chi_squared < num_cells + 3.1 * (2 * num_cells) ** 0.5 + 6


def test_the_uniform_number_of_seed_and_position_decides_the_token(policy_of):
    policy = policy_of()
    prompt, seed = (65, 66, 67), 12345
    [completion] = TorchSampler(policy).sample([Request(prompt, (seed,))], SamplingParams(4))
    ids = torch.tensor([prompt + completion.ids])
    with torch.no_grad():
        probabilities = policy.logits(ids, torch.ones_like(ids))[0].double().softmax(-1).cumsum(-1)
    for position, token in enumerate(completion.ids):
        number = uniforms(np.array([seed], np.uint64), np.array([position], np.uint64))[0]
        assert int((probabilities[len(prompt) - 1 + position] <= number).sum()) == token


def test_stop_id_ends_a_completion_and_belongs_to_it(policy_of):
    policy = policy_of()
    [plain] = TorchSampler(policy).sample([Request((65,), (1,))], SamplingParams(12, stop_ids=frozenset()))
    assert (len(plain.ids), plain.finish_reason) == (12, "length")
    stop = plain.ids[5]
    expected = plain.ids[: plain.ids.index(stop) + 1]
    [stopped] = TorchSampler(policy).sample([Request((65,), (1,))], SamplingParams(12, stop_ids=frozenset({stop})))
    assert (stopped.ids, stopped.finish_reason) == (expected, "stop")
    assert len(stopped.logprobs) == len(expected)


def test_each_request_may_have_its_own_params(policy_of):
    own = SamplingParams(max_new_tokens=3, temperature=0.0, stop_ids=frozenset())
    requests = [Request((65,), (1,)), Request((65,), (1,), params=own)]
    found = sampled(policy_of(), requests, SamplingParams(6, stop_ids=frozenset()))
    assert [len(found[0, 0].ids), len(found[1, 0].ids)] == [6, 3]


def test_completions_come_as_they_finish(policy_of):
    requests = [Request((65,), (1,), params=SamplingParams(n, stop_ids=frozenset())) for n in (9, 2, 5)]
    found = list(TorchSampler(policy_of()).sample(requests, SamplingParams(1)))
    assert [c.request_index for c in found] == [1, 2, 0]


def test_more_completions_than_slots_all_finish(policy_of):
    requests = [Request((65 + i,) * (1 + i % 3), tuple(range(5))) for i in range(9)]
    found = sampled(policy_of(), requests, SamplingParams(7), num_slots=8)
    assert sorted(found) == [(i, k) for i in range(9) for k in range(5)]


def test_rows_may_join_and_leave_while_others_run(policy_of):
    """The server's use of the loop: whatever happens around it, the first row says what it says alone."""
    policy = policy_of()
    params = SamplingParams(20, stop_ids=frozenset())
    [alone] = TorchSampler(policy).sample([Request((65, 66), (1,))], params)
    decoder, first, second = Decoder(policy), Row((65, 66), 1, params), Row((70,) * 9, 2, params)
    decoder.admit([first])
    said: list[int] = []
    for number in range(20):
        if number == 4:
            decoder.admit([second, Row((71,), 3, params)])
        if number == 9:
            decoder.drop([second])
        step = decoder.step()
        said += [token for row, token in zip(step.rows, step.ids, strict=True) if row is first]
        assert (second in step.rows) == (4 <= number < 9)
    assert tuple(said) == alone.ids
    assert decoder.num_running == 1


def test_impossible_params_are_refused():
    for wrong in ({"max_new_tokens": 0}, {"max_new_tokens": 1, "temperature": -1}, {"max_new_tokens": 1, "top_p": 0}):
        with pytest.raises(ValueError):
            SamplingParams(**wrong)


def test_a_prompt_without_tokens_is_refused(policy_of):
    with pytest.raises(ValueError, match="no tokens"):
        list(TorchSampler(policy_of()).sample([Request((), (1,))], SamplingParams(1)))
