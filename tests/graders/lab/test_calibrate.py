"""A grader against people, by hand."""

import math

import pytest

from fettle_graders.lab.calibrate import Rated, calibrate


def rated(label, *scores, chars=10, group=None):
    return Rated(label, scores, chars, group if group is not None else object())


def measure(answers):
    return calibrate(answers, label_threshold=0.5, score_threshold=0.5)


def test_agreement_and_kappa_by_hand():
    # 4 pass with both, 3 fail with both, 2 only the grader, 1 only the person.
    answers = [rated(1, 1.0)] * 4 + [rated(0, 0.0)] * 3 + [rated(0, 1.0)] * 2 + [rated(1, 0.0)]
    found = measure([Rated(a.label, a.scores, 10, i) for i, a in enumerate(answers)])
    assert found.agreement.value == pytest.approx(0.7)
    assert (found.confusion.only_grader, found.confusion.only_person) == (2, 1)
    # expected by chance: 0.5 * 0.6 + 0.5 * 0.4 = 0.5; kappa = (0.7 - 0.5) / 0.5
    assert found.kappa.value == pytest.approx(0.4)
    assert found.kappa.low < 0.4 < found.kappa.high
    assert found.repeat_noise is None


def test_noise_of_repeats_and_spread_inside_prompts_by_hand():
    # Each answer's repeats have variance 0.02; means of the two answers of a prompt: 0.1 and 0.9, variance 0.32,
    # of which 0.02 / 2 is noise.
    answers = [rated(0, 0.0, 0.2, group="a"), rated(1, 0.8, 1.0, group="a")]
    found = measure(answers)
    assert found.repeat_noise.value == pytest.approx(math.sqrt(0.02))
    assert found.group_spread.value == pytest.approx(math.sqrt(0.32 - 0.01))


def test_a_grader_that_only_counts_characters_is_found_out():
    answers = [rated(label, chars / 100, chars=chars) for label, chars in [(1, 10), (0, 90), (1, 30), (0, 70), (1, 50)]]
    biased = measure(answers)
    assert biased.length_bias.value > 0.9
    fair = measure([rated(label, label, chars=chars) for label, chars in [(1, 10), (0, 90), (1, 30), (0, 70)]])
    assert fair.length_bias is None  # grader and person rank alike: there is nothing for the length to explain
    assert fair.spearman.value == pytest.approx(1)


def test_answers_that_were_never_graded_do_not_count():
    assert measure([rated(1), rated(0)]) is None
    assert measure([rated(1), rated(0, 0.0)]).num_answers == 1
