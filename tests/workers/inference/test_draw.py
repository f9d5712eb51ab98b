from __future__ import annotations

import numpy as np
import pytest
import torch

from fettle_workers.engine.draw import draw, philox, process, uniforms


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        # Known answers published with Random123 (kat_vectors, philox4x32 10).
        (0, 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ],
)
def test_philox_gives_the_published_words(counter, key, expected):
    words = philox(np.array([key], np.uint64), np.array([counter], np.uint64))
    assert tuple(words[:, 0].tolist()) == expected


def test_uniforms_depend_on_seed_and_position_alone_and_are_uniform():
    positions = np.arange(20_000, dtype=np.uint64)
    numbers = uniforms(np.full(20_000, 7, np.uint64), positions)
    assert 0 <= numbers.min() < numbers.max() < 1
    assert numbers.mean() == pytest.approx(0.5, abs=0.01)
    assert np.histogram(numbers, bins=10, range=(0, 1))[0].min() > 1800  # 2000 each, standard deviation 42
    assert uniforms(np.array([7], np.uint64), np.array([123], np.uint64))[0] == numbers[123]
    other = uniforms(np.full(20_000, 8, np.uint64), positions)
    assert abs(np.corrcoef(numbers, other)[0, 1]) < 0.03


def test_draw_inverts_the_cumulative_distribution():
    # Cumulative: 0.25, 0.25, 0.75, 1.0. Token 1 has probability 0 and is never drawn.
    logprobs = torch.tensor([[0.25, 0.0, 0.5, 0.25]]).log().repeat(5, 1)
    numbers = torch.tensor([0.0, 0.2499, 0.2501, 0.7499, 0.7501], dtype=torch.float64)
    assert draw(logprobs, numbers).tolist() == [0, 0, 2, 2, 3]


def test_draw_at_the_upper_edge_gives_the_last_possible_token():
    logprobs = torch.tensor([[0.5, 0.5, 0.0]]).log()
    assert draw(logprobs, torch.tensor([1.0], dtype=torch.float64)).tolist() == [1]


def test_temperature_divides_the_logits_and_zero_keeps_the_models_distribution():
    # logits log 1, log 3; at T = 0.5 the odds are squared: 1 to 9.
    logits = torch.tensor([[1.0, 3.0]]).log().repeat(2, 1)
    found = process(logits, torch.tensor([0.5, 0.0]), None).exp()
    assert found[0].tolist() == pytest.approx([0.1, 0.9])
    assert found[1].tolist() == pytest.approx([0.25, 0.75])


def test_top_p_keeps_the_fewest_tokens_that_reach_it_and_renormalises():
    # 0.5 + 0.3 reaches 0.7; what is left of it is 5/8 and 3/8.
    logits = torch.tensor([[0.2, 0.5, 0.3]]).log().repeat(2, 1)
    found = process(logits, torch.tensor([1.0, 1.0]), torch.tensor([0.7, 0.01], dtype=torch.float64)).exp()
    assert found[0].tolist() == pytest.approx([0.0, 0.625, 0.375])
    assert found[1].tolist() == pytest.approx([0.0, 1.0, 0.0])
