"""`text_similarity`: how close two texts are, from 0 to 1.

Words are runs of letters and digits of any script; a Chinese or Japanese character is a word of its own. Punctuation
counts as words for BLEU, GLEU and METEOR and is dropped for ROUGE. On ASCII text without underscores ROUGE's words are
those of the `rouge-score` package.

Where a metric has nothing to count on one side (an empty text, or fewer than n words for ROUGE-n), equal texts
score 1 and different ones 0. The libraries answer 0 there, even for a perfect completion.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from nltk.stem.porter import PorterStemmer
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from nltk.translate.gleu_score import sentence_gleu
from nltk.translate.meteor_score import single_meteor_score
from rapidfuzz import fuzz
from rapidfuzz.distance import LCSseq
from rouge_score.rouge_scorer import RougeScorer

from fettle_graders.errors import GradeFailure
from fettle_graders.services import Embedder, TextScore

MAX_CHARS = 200_000
_MAX_STEMMED_CHARS = 40
_IDEOGRAPH = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = rf"[{_IDEOGRAPH}]|[^\W_{_IDEOGRAPH}]+"
_WORDS = re.compile(_WORD)
_WORDS_AND_MARKS = re.compile(rf"{_WORD}|[^\w\s]|_")


def text_similarity(text: str, reference: str, metric: str) -> float:
    """The similarity of a completion and its reference.

    Raises:
        GradeFailure: `other_error`, a text is over `MAX_CHARS` characters.
    """
    longest = max(len(text), len(reference))
    if longest > MAX_CHARS:
        raise GradeFailure("other_error", f"{metric} compares texts of at most {MAX_CHARS} characters; got {longest}")
    return min(1.0, max(0.0, METRICS[metric](text, reference)))


def cosine(embedder: Embedder) -> TextScore:
    """Cosine of the angle between the texts' embeddings; texts that point away from each other score 0, not less."""

    def score(text: str, reference: str) -> float:
        if not text.strip() or not reference.strip():
            return _exact(text, reference)
        first, second = embedder.embed([text, reference])
        lengths = math.hypot(*first) * math.hypot(*second)
        similarity = sum(a * b for a, b in zip(first, second, strict=True)) / lengths if lengths else 0.0
        return min(1.0, max(0.0, similarity))

    return score


def fuzzy_match(text: str, reference: str) -> float:
    """1 - (insertions + deletions) / (sum of lengths). Source: rapidfuzz `fuzz.ratio`, scaled from 100 to 1."""
    return fuzz.ratio(text, reference) / 100


def bleu(text: str, reference: str) -> float:
    """Sentence BLEU up to 4-grams, or up to the completion's length when it is shorter ("effective order").

    Orders without a match are smoothed with 0.1 (method 1), since one sentence often has none. Sources: Papineni et
    al. 2002, ACL P02-1040; Chen and Cherry 2014, W14-3346.
    """
    words, reference_words = _marked_words(text), _marked_words(reference)
    if not words or not reference_words:
        return _exact(text, reference)
    order = min(4, len(words))
    smoothing = SmoothingFunction(epsilon=0.1).method1
    return float(sentence_bleu([reference_words], words, weights=[1 / order] * order, smoothing_function=smoothing))


def gleu(text: str, reference: str) -> float:
    """The smaller of precision and recall over all 1- to 4-grams. Source: Wu et al. 2016, arXiv:1609.08144."""
    words, reference_words = _marked_words(text), _marked_words(reference)
    if not words or not reference_words:
        return _exact(text, reference)
    return float(sentence_gleu([reference_words], words))


def meteor(text: str, reference: str) -> float:
    """METEOR with exact and stemmed matches, in lower case; alpha 0.9, beta 3, gamma 0.5.

    Synonyms are not matched: WordNet is no package and nothing is downloaded. Equal texts of n words score
    1 - 0.5 / n^3, which is how METEOR is defined. Source: Lavie and Agarwal 2007, W07-0734.
    """
    words, reference_words = _marked_words(text), _marked_words(reference)
    if not words or not reference_words:
        return _exact(text, reference)
    return float(single_meteor_score(reference_words, words, stemmer=_STEMMER, wordnet=_NoSynonyms()))


def rouge_n(order: int) -> Callable[[str, str], float]:
    """F-measure over n-grams of words. Source: Lin 2004, W04-1013."""
    kind = f"rouge{order}"
    scorer = RougeScorer([kind], tokenizer=_RougeTokenizer())

    def score(text: str, reference: str) -> float:
        if min(len(_words(text)), len(_words(reference))) < order:
            return _exact(text, reference)
        return float(scorer.score(reference, text)[kind].fmeasure)

    return score


def rouge_l(text: str, reference: str) -> float:
    """F-measure of the longest common subsequence of words: 2 * LCS / (words of both). Source: Lin 2004, W04-1013.

    The same number as `rouge-score`'s, whose table in Python takes minutes where rapidfuzz's bits take milliseconds.
    """
    words, reference_words = _words(text), _words(reference)
    if not words or not reference_words:
        return _exact(text, reference)
    return 2 * LCSseq.similarity(words, reference_words) / (len(words) + len(reference_words))


def _exact(text: str, reference: str) -> float:
    return float(_normal(text) == _normal(reference))


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _words(text: str) -> list[str]:
    return _WORDS.findall(unicodedata.normalize("NFC", text).lower())


def _marked_words(text: str) -> list[str]:
    return _WORDS_AND_MARKS.findall(unicodedata.normalize("NFC", text))


class _RougeTokenizer:
    def tokenize(self, text: str) -> list[str]:
        return _words(text)


class _Stemmer:
    """Porter's stemmer, kept from words that are none: on a long run of `y` it recurses once a letter."""

    def __init__(self) -> None:
        self._porter = PorterStemmer()

    def stem(self, word: str) -> str:
        return str(self._porter.stem(word)) if len(word) <= _MAX_STEMMED_CHARS else word


class _NoSynonyms:
    def synsets(self, _word: str) -> Sequence[Any]:  # WordNet's own types, and always empty
        return ()


_STEMMER = _Stemmer()

METRICS: dict[str, Callable[[str, str], float]] = {
    "fuzzy_match": fuzzy_match,
    "bleu": bleu,
    "gleu": gleu,
    "meteor": meteor,
    **{f"rouge_{order}": rouge_n(order) for order in range(1, 6)},
    "rouge_l": rouge_l,
}
