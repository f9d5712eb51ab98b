import pytest
import torch

from fettle_workers.engine import logprob
from fettle_workers.engine.learner import Learner, decayed, warmed_up
from fettle_workers.engine.logprob import TokenSequence, exact_kl, microbatches, reference_logprobs, score_tokens
from fettle_workers.engine.loss import policy_gradient_loss
from fettle_workers.engine.native.budget import MOST_TOKENS


def wake(policy, seed=1):
    """Give B values, so that the adapter changes what the model says."""
    generator = torch.Generator().manual_seed(seed)
    tensors = policy.adapter_tensors()
    policy.set_adapter_tensors(
        {name: t + 0.1 * torch.randn(t.shape, generator=generator) for name, t in tensors.items()}
    )


@pytest.fixture
def policy(make_policy):
    policy = make_policy()
    wake(policy)
    return policy


@pytest.fixture
def sequences():
    """Eleven sequences of different lengths, prompts of 1 to 5 tokens."""
    numbers = torch.Generator().manual_seed(3)
    sizes = [(1 + i % 5, 2 + 3 * i % 17) for i in range(11)]
    draw = lambda n: torch.randint(0, 256, (n,), generator=numbers).tolist()  # noqa: E731
    return [TokenSequence.completion(draw(prompt), draw(size)) for prompt, size in sizes]


def naive_logprobs(policy, sequence, *, temperature=1.0):
    """One sequence, no padding, the public forward pass and the plain formula."""
    ids = torch.tensor([sequence.ids])
    logits = policy.logits(ids, torch.ones_like(ids))[0, :-1] / temperature
    table = torch.log_softmax(logits, -1)
    where = torch.tensor(sequence.in_loss[1:])
    return table.gather(1, ids[0, 1:, None])[:, 0][where], table[where]


def test_scores_equal_the_plain_forward_pass(policy, sequences):
    for batch in microbatches(policy, sequences):
        scores = score_tokens(policy, batch, temperature=0.7)
        for row, member in enumerate(batch.members):
            expected, table = naive_logprobs(policy, sequences[member], temperature=0.7)
            of_row = batch.sequences_N == row
            torch.testing.assert_close(scores.logprobs_N[of_row], expected, atol=1e-5, rtol=1e-5)
            entropy = -(table.exp() * table).sum(-1)
            torch.testing.assert_close(scores.entropy_N[of_row], entropy, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("max_logits", [2**27, 259 * 3])
def test_the_gradient_of_entropy_is_that_of_the_plain_formula_and_only_there_when_asked_for(
    policy, sequences, max_logits, monkeypatch
):
    monkeypatch.setattr(logprob, "MAX_LOGITS", max_logits)
    for batch in microbatches(policy, sequences):
        score_tokens(policy, batch, entropy_grad=True).entropy_N.sum().backward()
    found = {name: parameter.grad.clone() for name, parameter in policy.parameters().items()}
    for parameter in policy.parameters().values():
        parameter.grad = None
    tables = [naive_logprobs(policy, sequence)[1] for sequence in sequences]
    sum(-(table.exp() * table).sum() for table in tables).backward()
    for name, parameter in policy.parameters().items():
        torch.testing.assert_close(found[name], parameter.grad, atol=2e-4, rtol=1e-4)
    assert max(gradient.abs().max() for gradient in found.values()) > 1e-2
    batch = next(microbatches(policy, sequences))
    assert not score_tokens(policy, batch).entropy_N.requires_grad


@pytest.mark.parametrize("max_logits", [2**27, 259 * 3])  # the second cuts the head into chunks of three tokens
@pytest.mark.parametrize("budget", [4096, 40])
def test_gradients_do_not_depend_on_microbatches(policy, sequences, budget, max_logits, monkeypatch):
    advantages = [(-1.0) ** i * (1 + i) for i in range(len(sequences))]
    sampled = [naive_logprobs(policy, sequence)[0].detach() for sequence in sequences]

    # The naive way: all sequences one by one, one graph, one division.
    total = sum(
        -(advantage * naive_logprobs(policy, sequence)[0]).sum()
        for advantage, sequence in zip(advantages, sequences, strict=True)
    )
    parameters = policy.parameters()
    expected = torch.autograd.grad(total / sum(map(len, sampled)), list(parameters.values()))

    monkeypatch.setitem(MOST_TOKENS, "cpu", budget)
    monkeypatch.setattr(logprob, "MAX_LOGITS", max_logits)

    def loss(batch, scores):
        sampled_N = torch.cat([sampled[m] for m in batch.members])
        advantages_N = torch.cat([torch.full_like(sampled[m], advantages[m]) for m in batch.members])
        return policy_gradient_loss(
            scores.logprobs_N, sampled_N, advantages_N, batch.sequences_N, num_sequences=len(batch.members)
        )

    found = Learner(policy).accumulate(sequences, loss, temperature=1.0)
    assert found.num_tokens == sum(map(len, sampled))
    for parameter, gradient in zip(parameters.values(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-4)


def test_update_is_torch_s_adamw(policy):
    parameters = list(policy.parameters().values())
    twins = [parameter.detach().clone().requires_grad_() for parameter in parameters]
    adamw = torch.optim.AdamW(twins, lr=1e-2, betas=(0.9, 0.95), weight_decay=0.0)
    learner = Learner(policy)
    numbers = torch.Generator().manual_seed(5)
    for _ in range(3):
        for parameter, twin in zip(parameters, twins, strict=True):
            parameter.grad = 0.05 * torch.randn(parameter.shape, generator=numbers)
            twin.grad = parameter.grad.clone()
        norm = torch.nn.utils.clip_grad_norm_(twins, 1.0)
        learner.update(lr=1e-2, grad_norm=float(norm))
        adamw.step()
    for parameter, twin in zip(parameters, twins, strict=True):
        torch.testing.assert_close(parameter, twin, atol=1e-6, rtol=1e-5)


def test_kl_is_the_sum_over_the_whole_vocabulary(policy, sequences):
    expected = 0.0
    for sequence in sequences:
        _, table = naive_logprobs(policy, sequence)
        with policy.reference():
            _, base = naive_logprobs(policy, sequence)
        expected += float((table.exp() * (table - base)).sum())
    total, num_tokens = exact_kl(policy, sequences)
    assert total == pytest.approx(expected, rel=1e-4)
    assert num_tokens == sum(sum(sequence.in_loss) for sequence in sequences)
    assert total > 0


def test_a_fresh_adapter_has_no_kl(make_policy, sequences):
    fresh = make_policy()
    num_tokens = sum(sum(sequence.in_loss) for sequence in sequences)
    assert fresh.is_base
    assert exact_kl(fresh, sequences) == (0, num_tokens)


def test_an_adapter_with_one_weight_in_b_is_not_the_base(make_policy, sequences):
    policy = make_policy()
    name = next(name for name in policy.parameters() if name.endswith("lora_B.weight"))
    policy.parameters()[name].data[0, 0] = 3.0
    assert not policy.is_base
    assert exact_kl(policy, sequences)[0] > 0


def test_reference_logprobs_are_the_base_s(policy, make_policy, sequences):
    fresh = make_policy()
    found = reference_logprobs(policy, sequences, temperature=1.0)
    for logprobs, sequence in zip(found, sequences, strict=True):
        torch.testing.assert_close(logprobs, naive_logprobs(fresh, sequence)[0], atol=1e-5, rtol=1e-5)


def test_warm_up_rises_to_one():
    assert [warmed_up(step, warmup_steps=4) for step in (1, 2, 4, 9)] == [0.25, 0.5, 1, 1]
    assert decayed(100, warmup_steps=10, total_steps=100) == pytest.approx(0.1)
