from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from fettle_graders.errors import GradeFailure
from fettle_graders.text_similarity import MAX_CHARS, METRICS, text_similarity

NAMES = sorted(METRICS)


@pytest.mark.parametrize(
    ("metric", "text", "reference", "expected"),
    [
        # Common subsequence "ittn": 2 * 4 of 6 + 7 letters.
        ("fuzzy_match", "kitten", "sitting", 8 / 13),
        ("fuzzy_match", "abc", "ABC", 0.0),
        # 1-, 2-, 3-grams all match; 3 words for 4: brevity penalty exp(1 - 4/3).
        ("bleu", "the cat sat", "the cat sat down", math.exp(-1 / 3)),
        # Precisions 3/4, 1/3, 0/2 and 0/1; the zeros smoothed to 0.1/2 and 0.1/1.
        ("bleu", "the cat is here", "the cat was here", (3 / 4 * 1 / 3 * 0.05 * 0.1) ** 0.25),
        ("bleu", "Paris", "Paris", 1.0),
        ("bleu", "a b c d e", "a b c d e", 1.0),
        ("bleu", "x y", "a b", 0.0),
        # 4 + 3 + 2 + 1 n-grams on both sides; three words and "the cat" match.
        ("gleu", "the cat is here", "the cat was here", 0.4),
        # 2 + 1 n-grams match of 4 + 3 + 2 + 1.
        ("gleu", "a b", "a b c d", 0.3),
        ("gleu", "a b c d", "a b", 0.3),
        # Three matches, one by its stem, in one chunk: 1 - 0.5 * (1/3)^3.
        ("meteor", "the cats sat", "the cat sat", 1 - 0.5 / 27),
        # Two chunks: 1 - 0.5 * (2/3)^3.
        ("meteor", "sat the cat", "the cat sat", 1 - 0.5 * 8 / 27),
        # P 1, R 1/2: F = 0.5 / (0.9 + 0.05), one chunk of two.
        ("meteor", "a b", "a b c d", 0.5 / 0.95 * (1 - 0.5 / 8)),
        ("meteor", "car", "automobile", 0.0),  # no synonyms
        ("meteor", "The Cat", "the cat", 1 - 0.5 / 8),
        ("rouge_1", "the cat sat on the mat", "the cat is on the mat", 5 / 6),
        ("rouge_2", "the cat sat on the mat", "the cat is on the mat", 3 / 5),
        ("rouge_3", "the cat sat on the mat", "the cat is on the mat", 1 / 4),
        ("rouge_4", "a b c d e x", "a b c d e f", 2 / 3),
        ("rouge_5", "a b c d e x", "a b c d e f", 1 / 2),
        ("rouge_l", "the cat sat on the mat", "the cat is on the mat", 5 / 6),
        ("rouge_l", "c a b", "a b c", 2 / 3),
        # P 1, R 1/2.
        ("rouge_1", "a b", "a b c d", 2 / 3),
        ("rouge_l", "a b", "a b c d", 2 / 3),
        ("rouge_1", "The CAT!", "the cat", 1.0),
    ],
)
def test_worked_numbers(metric: str, text: str, reference: str, expected: float) -> None:
    assert text_similarity(text, reference, metric) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", NAMES)
def test_empty_texts(metric: str) -> None:
    assert text_similarity("", "", metric) == 1.0
    assert text_similarity("", "a word", metric) == 0.0
    assert text_similarity("a word", "", metric) == 0.0


@pytest.mark.parametrize("metric", [name for name in NAMES if name != "meteor"])
@pytest.mark.parametrize(
    "text", ["Paris", "two words", "日本語", "Ünï cödé", "!?", "a", "नमस्ते", "👩‍👩‍👧", "a \ud800 b", "\0"]
)
def test_equal_texts_score_one(metric: str, text: str) -> None:
    assert text_similarity(text, text, metric) == pytest.approx(1.0)


@pytest.mark.parametrize("metric", NAMES)
def test_different_short_texts_do_not_score_one(metric: str) -> None:
    for text, reference in (("!?", "?."), ("日", "本"), ("Rome", "Paris"), ("👍", "👎")):
        assert text_similarity(text, reference, metric) < 0.6


def test_unicode_words() -> None:
    # Two of three characters.
    assert text_similarity("日本語", "日本人", "rouge_1") == pytest.approx(2 / 3)
    # One word of two.
    assert text_similarity("привет мир", "привет дом", "rouge_1") == pytest.approx(1 / 2)
    # The composed and the decomposed spelling are one word.
    assert text_similarity("café au lait", "cafe\u0301 au lait", "rouge_3") == 1.0


def test_meteor_of_equal_texts_is_one_minus_its_penalty() -> None:
    assert text_similarity("a b c d", "a b c d", "meteor") == pytest.approx(1 - 0.5 / 64)


def test_texts_over_the_limit_fail() -> None:
    with pytest.raises(GradeFailure) as caught:
        text_similarity("x" * (MAX_CHARS + 1), "x", "rouge_l")
    assert caught.value.flag == "other_error"


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("shape", ["words", "one word", "marks", "y"])
def test_long_texts_take_seconds_at_most(metric: str, shape: str) -> None:
    text = {"words": "ab cd ef gh ", "one word": "abcdefghijkl", "marks": "?!.,;:-_()[]", "y": "yyyyyyyyyyyy"}[shape]
    start = time.process_time()
    score = text_similarity(text * 2000, text[::-1] * 1900, metric)
    assert 0 <= score <= 1
    assert time.process_time() - start < 5


ENOUGH_WORDS = st.lists(st.sampled_from(["a", "B", "c1", "22", "e"]), min_size=3, max_size=12).map(", ".join)


@settings(max_examples=50)
@given(ENOUGH_WORDS, ENOUGH_WORDS)
def test_rouge_agrees_with_the_rouge_score_package(text: str, reference: str) -> None:
    kinds = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_3": "rouge3", "rouge_l": "rougeL"}
    expected = RougeScorer(list(kinds.values())).score(reference, text)
    for name, kind in kinds.items():
        assert text_similarity(text, reference, name) == pytest.approx(expected[kind].fmeasure)


def test_where_rouge_has_no_n_gram_equal_texts_still_score_one() -> None:
    assert RougeScorer(["rouge2"]).score("Paris", "Paris")["rouge2"].fmeasure == 0
    assert text_similarity("Paris", "Paris", "rouge_2") == 1


@settings(max_examples=60)
@given(st.text(max_size=60), st.text(max_size=60))
def test_every_metric_stays_between_0_and_1(text: str, reference: str) -> None:
    for metric in NAMES:
        assert 0 <= text_similarity(text, reference, metric) <= 1
