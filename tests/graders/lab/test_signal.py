"""Which rows teach, and pass@k, by hand."""

import math

import numpy as np
import pytest

from fettle_graders.lab.signal import fit_beta, mean_pass_at_k, pass_at_k, row_state, signal_share


@pytest.mark.parametrize(
    ("rewards", "state"),
    [
        ([0, 0, 0], "dead"),
        ([0.25, 0.25], "dead"),
        ([1, 1, 1], "solved"),
        ([0.5, 0.5], "solved"),
        ([0, 1], "teachable"),
        ([0.75, 1], "teachable"),  # all pass, and one is still better
        ([1], "ungraded"),
        ([], "ungraded"),
    ],
)
def test_what_a_rows_answers_say(rewards, state):
    assert row_state(rewards, pass_threshold=0.5) == state


def test_pass_at_k_by_hand():
    # 8 answers, 2 pass: 1 - C(6, 3) / C(8, 3) = 1 - 20/56.
    assert pass_at_k(8, 2, 3) == pytest.approx(1 - 20 / 56)
    assert pass_at_k(8, 2, 1) == pytest.approx(0.25)
    assert pass_at_k(8, 2, 7) == 1.0
    assert pass_at_k(8, 0, 8) == 0.0
    with pytest.raises(ValueError):
        pass_at_k(4, 1, 5)


def test_pass_at_k_has_no_bias():
    """Over all outcomes of 6 answers with rate 0.3 its mean is 1 - 0.7^4 exactly; the naive estimate's is not."""
    mean = sum(math.comb(6, c) * 0.3**c * 0.7 ** (6 - c) * pass_at_k(6, c, 4) for c in range(7))
    assert mean == pytest.approx(1 - 0.7**4)


def test_pass_at_k_is_a_mean_over_rows_and_leaves_out_what_has_too_few_answers():
    rows = [[1, 1, 0, 0], [0, 0, 0, 0], [1, 0]]
    estimate = mean_pass_at_k(rows, 3, pass_threshold=0.5)
    assert estimate.value == pytest.approx((1.0 + 0.0) / 2)  # of 4 with 2 right, any 3 hold a right one
    assert mean_pass_at_k(rows, 5, pass_threshold=0.5) is None


def test_the_share_of_groups_with_signal_by_hand():
    # [1,1,0,0] in pairs: 1 - (C(2,2) + C(2,2)) / C(4,2) = 2/3; [0,0,0,0]: 0.
    estimate = signal_share([[1, 1, 0, 0], [0, 0, 0, 0]], 2)
    assert estimate.value == pytest.approx(1 / 3)
    # Three different rewards: pairs always differ.
    assert signal_share([[0.1, 0.2, 0.3]], 2).value == 1.0


def test_beyond_the_answers_there_are_it_is_extrapolated_and_grows():
    rows = [[1] * c + [0] * (8 - c) for c in (0, 0, 0, 1, 2, 4, 7, 8)]
    shares = [signal_share(rows, size).value for size in (4, 8, 16, 32)]
    assert shares == sorted(shares)
    assert shares[1] == pytest.approx(4 / 8)  # all 8 answers: the rows that differ
    assert shares[1] < shares[2] < 1


def test_the_extrapolation_hits_a_known_truth():
    """400 rows with rates from Beta(0.5, 2), 8 answers each; the share at 32 is 1 - E[p^32] - E[(1-p)^32]."""
    random = np.random.default_rng(1)
    rates = random.beta(0.5, 2, size=400)
    rows = [(random.random(8) < rate).astype(float).tolist() for rate in rates]
    truth = float((1 - rates**32 - (1 - rates) ** 32).mean())
    estimate = signal_share(rows, 32)
    assert estimate.value == pytest.approx(truth, abs=0.04)
    alpha, beta = fit_beta(np.array([sum(row) for row in rows]), np.full(400, 8.0))
    assert alpha / (alpha + beta) == pytest.approx(0.2, abs=0.03)


def test_rewards_of_many_values_keep_to_what_was_seen():
    rows = [[0.1, 0.1, 0.9, 0.5], [0.3, 0.3, 0.3, 0.3]]
    # 1 - (0.5^8 + 2 * 0.25^8) of the first row, 0 of the second.
    assert signal_share(rows, 8).value == pytest.approx((1 - 0.5**8 - 2 * 0.25**8) / 2)


def test_where_nothing_ever_differed_the_bound_says_how_much_could_have_been_missed():
    estimate = signal_share([[0.0] * 8] * 64, 16)
    assert (estimate.value, estimate.low) == (0.0, 0.0)
    rate = 3.841459 / (512 + 3.841459)
    assert estimate.high == pytest.approx(1 - (1 - rate) ** 16)
    assert signal_share([[]], 4) is None
