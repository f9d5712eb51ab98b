"""Sampler and trainer about the same tokens: the numbers, and what they say about the sampler."""

import math
from dataclasses import replace

import pytest

from fettle_workers.engine.parity import Parity, measure_parity
from fettle_workers.engine.sampler import Completion, Request, SamplingParams, TorchSampler

PROMPTS = [(72, 101, 108), (257, 65, 66), (90,)]
PARAMS = SamplingParams(20, temperature=0.8, stop_ids=frozenset())


def drawn(policy):
    requests = [Request(prompt, (index,)) for index, prompt in enumerate(PROMPTS)]
    return sorted(TorchSampler(policy).sample(requests, PARAMS), key=lambda c: c.request_index)


def parity_of(policy, completions):
    return measure_parity(policy, PROMPTS, completions, temperature=0.8)


def test_a_sampler_of_this_policy_agrees_and_uses_the_adapter(policy_of, wake):
    policy = policy_of()
    wake(policy)
    parity = parity_of(policy, drawn(policy))
    assert parity.num_tokens == 60
    assert parity.mean_difference < 1e-5
    assert parity.k3 < 1e-9
    assert parity.difference_to_base > 0.01
    assert parity.adapter_is_used is True
    assert not parity.is_fatal


def test_a_sampler_without_the_adapter_is_found_out_even_where_k3_is_small(policy_of, wake):
    """The silent failure: the completions are good, and of the wrong policy."""
    policy = policy_of()
    wake(policy, scale=0.003)  # about what one update does
    with policy.reference():
        unused = drawn(policy)
    parity = parity_of(policy, unused)
    assert parity.difference_to_base < 1e-5
    assert parity.mean_difference > 3e-4
    assert parity.k3 < 0.01
    assert parity.adapter_is_used is False
    assert parity.is_fatal


def test_of_an_adapter_that_changes_nothing_nobody_can_tell(policy_of):
    policy = policy_of()
    parity = parity_of(policy, drawn(policy))
    assert parity.adapter_is_used is None
    assert not parity.is_fatal


def test_k3_and_the_mean_difference_are_those_of_the_formula(policy_of):
    """Half of the tokens told 0.2 too high, half 0.4 too low: d = -0.2 and 0.4.

    k3 = ((e^-0.2 - 1 + 0.2) + (e^0.4 - 1 - 0.4)) / 2 = (0.018731 + 0.091825) / 2 = 0.055278.
    """
    policy = policy_of()
    completions = [
        replace(one, logprobs=tuple(p + (0.2 if place % 2 else -0.4) for place, p in enumerate(one.logprobs)))
        for one in drawn(policy)
    ]
    parity = parity_of(policy, completions)
    assert parity.mean_difference == pytest.approx(0.3, abs=1e-5)
    assert parity.k3 == pytest.approx(0.055278, abs=1e-5)
    assert not parity.is_fatal


@pytest.mark.parametrize("k3", [0.11, math.nan, math.inf])
def test_a_large_or_unknown_difference_is_fatal(k3):
    assert Parity(num_tokens=9, mean_difference=0.1, k3=k3, difference_to_base=0.1).is_fatal


def test_no_tokens_is_an_error(policy_of):
    with pytest.raises(ValueError, match="no tokens"):
        measure_parity(policy_of(), [(65,)], [Completion(0, 0, (), (), "length")], temperature=1.0)
