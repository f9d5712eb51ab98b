"""What goes through transformers and PEFT: here a model that the native decoder could compute too."""

import pytest
import torch

from fettle_workers.engine.generic import padding
from fettle_workers.engine.generic.network import GenericNetwork
from fettle_workers.engine.learner import Learner
from fettle_workers.engine.logprob import microbatches
from fettle_workers.engine.loss import policy_gradient_loss
from fettle_workers.engine.sequences import TokenSequence


@pytest.fixture
def policy(policy_of, wake, monkeypatch):
    monkeypatch.setattr("fettle_workers.engine.model.load_native", lambda *args, **kwargs: None)
    policy = policy_of("qwen3")
    assert isinstance(policy.network, GenericNetwork)
    wake(policy)
    return policy


@pytest.mark.parametrize("budget", [4096, 60])
@pytest.mark.parametrize("lengths", [(9, 9, 9), (9, 4, 7)])  # prompts of equal and of different length
def test_reading_prompts_once_changes_no_gradient(policy, lengths, budget, monkeypatch):
    numbers = torch.Generator().manual_seed(4)
    draw = lambda n: torch.randint(0, 256, (n,), generator=numbers).tolist()  # noqa: E731
    prompts = [draw(length) for length in lengths]
    groups = [TokenSequence.completion(prompt, draw(1 + size)) for prompt in prompts for size in range(5)]

    def gradients():
        def loss(batch, scores):
            advantages_N = torch.tensor([1.0 + member for member in batch.members])[batch.sequences_N]
            return policy_gradient_loss(
                scores.logprobs_N,
                scores.logprobs_N.detach(),
                advantages_N,
                batch.sequences_N,
                num_sequences=len(batch.members),
            )

        Learner(policy).accumulate(groups, loss, temperature=1.0)
        return [parameter.grad.clone() for parameter in policy.parameters().values()]

    assert all(batch.inputs.shared for batch in microbatches(policy, groups))
    found = gradients()
    monkeypatch.setattr(policy.network, "can_share", False)
    monkeypatch.setattr(padding, "CPU_TOKENS", budget)
    for shared, plain in zip(found, gradients(), strict=True):
        torch.testing.assert_close(shared, plain, atol=1e-5, rtol=1e-4)
