import math

import pytest
import torch

from fettle_workers.engine.loss import next_token_loss, policy_gradient_loss

ONE = torch.zeros(2, dtype=torch.long)  # both tokens in sequence 0


def loss_of(p, mu, a, sequences=ONE, num_sequences=1, **more):
    p = torch.tensor(p, requires_grad=True)
    return p, policy_gradient_loss(p, torch.tensor(mu), torch.tensor(a), sequences, num_sequences=num_sequences, **more)


def test_on_policy_the_gradient_is_minus_the_advantage():
    p, loss = loss_of([-1.0, -2.0], [-1.0, -2.0], [0.5, -3.0])
    loss.total.backward()
    assert loss.total.item() == pytest.approx(-(0.5 * -1.0) - (-3.0 * -2.0))  # 0.5 - 6
    assert p.grad.tolist() == [-0.5, 3.0]
    assert loss.num_tokens == 2


def test_the_weight_is_the_ratio_and_carries_no_gradient():
    # Ratios 1.25 and 0.8: their geometric mean is 1, so the sequence is kept.
    p, loss = loss_of([math.log(0.5), math.log(0.4)], [math.log(0.4), math.log(0.5)], [1.0, 1.0])
    loss.total.backward()
    assert p.grad.tolist() == pytest.approx([-1.25, -0.8])


@pytest.mark.parametrize("ratio", [0.4, 6.0])
def test_a_token_whose_ratio_is_too_far_off_is_dropped(ratio):
    # Its counterpart brings the sequence's geometric mean back to 1.
    sequences = torch.zeros(200, dtype=torch.long)
    p = [math.log(ratio) - 8] + [-1.0 - math.log(ratio) / 199] * 199
    p, loss = loss_of(p, [-8.0] + [-1.0] * 199, [1.0] * 200, sequences)
    loss.total.backward()
    assert p.grad[0] == 0
    assert loss.num_tokens == 199
    assert loss.sums["masked_tokens"] == 1
    assert loss.sums["masked_sequences"] == 0


def test_a_sequence_whose_mean_ratio_is_off_is_dropped_whole():
    # Sequence 0: ratio 1.02 throughout; sequence 1: exact.
    off = math.log(1.02)
    p, loss = loss_of([-1 + off, -1 + off, -1.0], [-1.0] * 3, [1.0] * 3, torch.tensor([0, 0, 1]), 2)
    loss.total.backward()
    assert p.grad.tolist() == [0, 0, -1]
    assert loss.num_tokens == 1
    assert loss.sums["masked_sequences"] == 1


def test_a_broken_logprob_does_not_poison_the_rest():
    p, loss = loss_of([-math.inf, -1.0], [-1.0, -1.0], [1.0, 1.0], torch.tensor([0, 1]), 2)
    loss.total.backward()
    assert loss.total.item() == 1.0
    assert p.grad.tolist() == [0, -1]


def test_next_token_loss_is_the_negative_logprob():
    loss = next_token_loss(torch.tensor([-1.0, -3.0]), torch.tensor([True, False]))
    assert (loss.total.item(), loss.num_tokens.item(), loss.sums["correct"].item()) == (4.0, 2, 1)


def test_with_several_updates_a_probability_that_already_moved_with_its_push_is_let_go():
    # Probabilities .3 -> .55 (+.25) and .55 -> .3 (-.25), each with a push up and one down.
    up, down = (math.log(0.55), math.log(0.3)), (math.log(0.3), math.log(0.55))
    p, mu = zip(up, up, down, down, strict=True)
    sequences = torch.zeros(4, dtype=torch.long)  # the ratios' geometric mean is 1
    p, loss = loss_of(list(p), list(mu), [1.0, -1.0, 1.0, -1.0], sequences, several_updates=True, is_stale=True)
    loss.total.backward()
    assert p.grad.tolist() == [0, pytest.approx(0.55 / 0.3), pytest.approx(-0.3 / 0.55), 0]
    assert loss.num_tokens == 2


@pytest.mark.parametrize(("is_stale", "num_tokens"), [(False, 0), (True, 2)])
def test_a_learner_that_is_ahead_may_differ_by_5_percent(is_stale, num_tokens):
    off = math.log(1.04)
    _, loss = loss_of([-1 + off] * 2, [-1.0] * 2, [1.0] * 2, is_stale=is_stale)
    assert loss.num_tokens == num_tokens


def test_entropy_earns_its_coefficient_on_the_tokens_that_count():
    entropy = torch.tensor([2.0, 3.0], requires_grad=True)
    far = [-1.0, math.log(6) - 8]  # the second token is masked
    _, loss = loss_of(
        far, [-1.0, -8.0], [0.0, 1.0], torch.tensor([0, 1]), 2, entropy_N=entropy, entropy_coef=0.01
    )  # fmt: skip
    loss.total.backward()
    assert loss.total.item() == pytest.approx(-0.02)
    assert entropy.grad.tolist() == [pytest.approx(-0.01), 0]


def test_the_mismatch_is_k3_and_one_broken_token_is_bounded():
    # Ratio 2: k3 = 2 - 1 - log 2. Ratio 0 counts as exp(-10): 9 and a little.
    _, loss = loss_of([math.log(2) - 1, -math.inf], [-1.0, -1.0], [1.0, 1.0])
    assert loss.sums["mismatch_kl"].item() == pytest.approx(1 - math.log(2) + 9 + math.exp(-10), rel=1e-5)


def test_values_that_are_not_numbers_are_counted():
    _, loss = loss_of([math.nan, -1.0], [-1.0, -1.0], [1.0, 1.0])
    assert loss.sums["nan_tokens"] == 1
