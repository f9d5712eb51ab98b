"""Bounds that are known by hand or by table."""

import math

import numpy as np
import pytest

from fettle_graders.lab.intervals import bootstrap, mean_over_rows, student_t, wilson


def test_wilson_by_hand():
    # 0 of 10: z^2 / (10 + z^2) = 3.8415 / 13.8415; 5 of 10 is symmetric about one half.
    nothing = wilson(0, 10)
    assert (nothing.value, nothing.low) == (0.0, 0.0)
    assert nothing.high == pytest.approx(3.841459 / 13.841459)
    half = wilson(5, 10)
    assert half.low == pytest.approx(0.2366, abs=1e-4)
    assert half.low + half.high == pytest.approx(1)
    with pytest.raises(ValueError):
        wilson(1, 0)


@pytest.mark.parametrize(("degrees", "point"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (5, 2.5706), (30, 2.0423)])
def test_students_t_is_the_table(degrees, point):
    assert student_t(degrees) == pytest.approx(point, rel=0.005)


@pytest.mark.parametrize(("degrees", "point"), [(1, 6.3138), (2, 2.9200), (3, 2.3534), (5, 2.0150), (30, 1.6973)])
def test_other_points_of_students_t_are_the_tables(degrees, point):
    assert student_t(degrees, 0.95) == pytest.approx(point, rel=0.005)


def test_the_mean_over_rows_is_no_narrower_than_students_t():
    # mean 0.5, standard deviation sqrt(1/3), three degrees: 3.1824 * sqrt(1/3) / 2 = 0.9187, cut to [0, 1].
    few = mean_over_rows([0.0, 1.0, 0.0, 1.0])
    assert (few.value, few.low, few.high) == (0.5, 0.0, 1.0)
    # The same off the unit interval is not cut.
    scores = mean_over_rows([10.0, 11.0, 10.0, 11.0])
    assert scores.low == pytest.approx(10.5 - 0.9187, abs=0.005)
    assert scores.high == pytest.approx(10.5 + 0.9187, abs=0.005)


def test_rows_that_all_agree_are_not_called_certain():
    assert mean_over_rows([0.0] * 10) == wilson(0, 10)
    assert mean_over_rows([1.0] * 4) == wilson(4, 4)
    alone = mean_over_rows([0.5])
    assert (alone.value, alone.low, alone.high) == (0.5, 0.0, 1.0)
    assert mean_over_rows([7.0]).high == math.inf
    with pytest.raises(ValueError):
        mean_over_rows([])


def test_the_bounds_cover_the_truth_as_often_as_they_say():
    random = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        estimate = mean_over_rows(random.beta(0.5, 0.5, size=20), seed=trial)
        covered += estimate.low <= 0.5 <= estimate.high
    assert 0.92 <= covered / 300 <= 0.99


def test_a_statistic_without_a_value_has_no_estimate():
    assert bootstrap(lambda picks: math.nan, 5) is None
    assert bootstrap(lambda picks: 1.0, 0) is None
    values = np.arange(5.0)
    found = bootstrap(lambda picks: float(values[picks].mean()), 5)
    assert found.value == 2
    assert found.low < 2 < found.high
