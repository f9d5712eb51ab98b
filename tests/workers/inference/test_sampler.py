from __future__ import annotations

import pytest
import torch

from fettle_workers.engine.sampler import Request, SamplingParams, TorchSampler

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "mamba")
PROMPTS = [(72, 101, 108), (257, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75), (90,)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_tokens_are_those_of_transformers_generate(policy_of, wake, architecture):
    policy = policy_of(architecture)
    wake(policy)
    params = SamplingParams(max_new_tokens=24, temperature=0.0)
    requests = [Request(prompt, seeds=(0,)) for prompt in PROMPTS]
    found = {c.request_index: list(c.ids) for c in TorchSampler(policy).sample(requests, params)}
    for index, prompt in enumerate(PROMPTS):
        ids = torch.tensor([prompt])
        expected = policy.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False
        )[0, len(prompt) :].tolist()
        assert found[index] == expected
