r"""Where an answer stands: the last `\boxed{}`."""

from __future__ import annotations

import re

_BRACE = re.compile(r"\\[{}\\]|(?P<box>\\(?:boxed|fbox)\s*)?\{|\}")


def last_box(text: str) -> str | None:
    r"""The content of the last `\boxed{}` or `\fbox{}` that is closed; of nested ones, the outer."""
    opened: list[int | None] = []  # for each open brace: where the content of its box begins, None for other braces
    content = None
    for token in _BRACE.finditer(text):
        if token.group()[0] == "\\" and not token["box"]:
            continue  # an escaped brace, or a line break
        if token.group() != "}":
            opened.append(token.end() if token["box"] else None)
        elif opened and (start := opened.pop()) is not None:
            content = text[start : token.start()].strip()
    return content
