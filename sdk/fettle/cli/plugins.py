"""Verbs that other installed packages add: entry points of the group `fettle.commands`, each a Typer app.

They are looked up only for `--help` and for verbs the client does not know, because loading them may be slow. One
that cannot be loaded is reported and left out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from typing import Any

import typer

GROUP = "fettle.commands"
SERVER_VERBS = frozenset({"up", "serve", "worker", "tick", "infer", "migrate", "sign-in", "users"})


@cache
def _loaded() -> tuple[dict[str, Any], tuple[str, ...]]:
    from importlib.metadata import entry_points

    found: dict[str, Any] = {}
    broken: list[str] = []
    for entry in entry_points(group=GROUP):
        try:
            group = typer.main.get_group(entry.load())
        except Exception as error:  # any failure of someone else's package; the client's verbs must go on
            broken.append(f"the verbs of {entry.value!r} could not be loaded: {type(error).__name__}: {error}")
            continue
        found.update(group.commands)
    return found, tuple(broken)


def commands() -> dict[str, Any]:
    """Name -> command, of every plugin that loads."""
    return _loaded()[0]


def missing_hint(name: str, known: Iterable[str]) -> str | None:
    """What to say beside "no such command"."""
    found, broken = _loaded()
    if name in SERVER_VERBS and not broken:
        return f"`fettle {name}` comes with the server: pip install fettle-server"
    if name not in SERVER_VERBS and (near := difflib.get_close_matches(name, [*known, *found], n=1)):
        return f"Did you mean `fettle {near[0]}`?"
    return "\n".join(broken) or None
