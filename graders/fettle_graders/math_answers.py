r"""`math`: is the completion's answer the reference's answer as mathematics?

Runs in the child process of `math_process` only: sympy can take forever, and here nothing bounds it.

The answer of a text is its last `\boxed{}`. Without one, a text of a single line is the answer itself, and in anything
longer math-verify finds the final answer ("the answer is ...", the last formula or number).
"""

from __future__ import annotations

import re
from itertools import product
from typing import Any

from math_verify import parse, verify

from fettle_graders.boxed import last_box

MAX_PROSE_CHARS = 4_000
MAX_ANSWER_CHARS = 2_000
MAX_DEPTH = 30
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_DELIMITED = re.compile(r"\$|\\\(|\\\[|\\begin\{")
_SENTENCE = re.compile(r"(?<!\\)\b[A-Za-z]{2,}\s+[A-Za-z]{2,}|[.:!?]\s*$|####|\n|(?i:answer)")
_WORDS = re.compile(r"(?=.*[A-Za-z]{4}|(?i:yes|no|odd|all)$)[A-Za-z][A-Za-z \-']*")
_SCIENTIFIC = re.compile(r"([+-]?\d+(?:\.\d+)?)[eE]([+-]?\d{1,3})")
_GROUPED = re.compile(r"[+-]?\d{1,3}(?: \d{3})+(?:\.\d+)?")
_NAMED = re.compile(r"(?<![\\A-Za-z])(pi|theta|infty|alpha|beta|gamma|sin|cos|tan|ln|log|exp)(?![A-Za-z])")
_MINUS_SIGNS = str.maketrans({"−": "-", "–": "-", "\u00a0": " "})


class NoReferenceError(ValueError):
    """The reference holds no answer."""


def same_answer(text: str, reference: str) -> bool:
    """Whether both texts end in the same mathematical answer. A text without an answer is a wrong answer.

    Raises:
        NoReferenceError: no answer in the reference.
        MemoryError: a number too large to hold.
    """
    expected = _parsed(reference)
    if not expected:
        raise NoReferenceError
    return any(_equal(gold, answer) for gold, answer in product(expected, _parsed(text)))


def _parsed(text: str) -> list[Any]:  # sympy objects and strings
    text = text.translate(_MINUS_SIGNS).strip()
    boxed = last_box(text)
    if boxed is None and _BOX.search(text):
        return []  # cut off inside its answer
    if boxed is None and (_DELIMITED.search(text) or (_SENTENCE.search(text) and not _WORDS.fullmatch(text))):
        return _parse(text[-MAX_PROSE_CHARS:])
    content = text if boxed is None else boxed
    return _parse(rf"\boxed{{{_as_latex(content)}}}") if _is_readable(content) else []


def _is_readable(content: str) -> bool:
    """Neither empty nor of a size that only a degenerate completion has, and that parsers take minutes for."""
    depth = deepest = 0
    for character in content:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return 0 < len(content) <= MAX_ANSWER_CHARS and deepest <= MAX_DEPTH


def _as_latex(content: str) -> str:
    """Spell plain-text answers so that LaTeX reads them as they are meant."""
    content = content.rstrip(".") if content.count(".") == 1 and content.endswith(".") else content
    if _WORDS.fullmatch(content):
        # As LaTeX a bare word is a product of letters, and "blue" would equal "lube".
        return rf"\text{{{content.casefold()}}}"
    if number := _SCIENTIFIC.fullmatch(content):
        return rf"{number[1]} \times 10^{{{int(number[2])}}}"
    if _GROUPED.fullmatch(content):
        return content.replace(" ", "")
    return _NAMED.sub(r"\\\1", content)


def _parse(text: str) -> list[Any]:
    try:
        return list(parse(text, parsing_timeout=None, raise_on_error=True))
    except MemoryError:
        raise
    except Exception:  # whatever sympy's many parsers raise, the text holds no answer they can read
        return []


def _equal(gold: Any, answer: Any) -> bool:
    try:
        return bool(verify([gold], [answer], timeout_seconds=None, raise_on_error=True))
    except MemoryError:
        raise
    except Exception:  # sympy compares many kinds of objects by failing
        return False
