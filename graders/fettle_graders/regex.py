r"""`regex`: patterns matched in time linear in the text, by RE2.

Python's own engine tries every way to match and takes years for `(a+)+$` on a line of a's; a pattern is a user's and
the text a model's. RE2 has no back-references (`\1`) and no look-around (`(?=`, `(?!`, `(?<=`, `(?<!`), and such a
pattern is refused. Flags are written in the pattern: `(?i)`, `(?s)`, `(?m)`.

Source: Cox 2007, "Regular expression matching can be simple and fast"; https://github.com/google/re2/wiki/Syntax.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import re2

from fettle_graders.errors import GradeFailure

if TYPE_CHECKING:
    from fettle_graders.kinds.declarative import RegexSpec

MAX_PATTERN_CHARS = 10_000
MAX_TEXT_CHARS = 200_000
_MAX_PROGRAM_BYTES = 1 << 20


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Any:  # re2 ships no types
    """Raises ValueError: RE2 cannot read it, or it would need more than a megabyte."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_PROGRAM_BYTES
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        found = error.args[0].decode("utf-8", "replace") if isinstance(error, re2.error) else str(error)
        raise ValueError(
            f"{found}. The engine is RE2, which matches in linear time and has no back-references and no look-around; "
            "see https://github.com/google/re2/wiki/Syntax"
        ) from error


def regex_score(spec: RegexSpec, text: str, reference: str | None) -> float:
    """1.0 or 0.0.

    Raises:
        GradeFailure: `other_error`, a text over `MAX_TEXT_CHARS` characters.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise GradeFailure("other_error", f"regex reads texts of at most {MAX_TEXT_CHARS} characters; got {len(text)}")
    compiled = compile_pattern(spec.pattern)
    found = compiled.fullmatch(text) if spec.match == "fullmatch" else compiled.search(text)
    if found is None or reference is None:
        return float(found is not None)
    group = spec.group if spec.group is not None else min(1, compiled.groups)
    return float(found.group(group) == reference)
