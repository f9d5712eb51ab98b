"""Lets apps above this one say that a file is in use, without this app knowing them.

Usage in another app's `AppConfig.ready`: `register_deletion_guard(reason_file_is_needed)`, a function from a `File` to
None or a sentence such as `it is used by the running job ftjob-...`.
"""

from __future__ import annotations

from collections.abc import Callable

from fettle_platform.datasets.models import File

DeletionGuard = Callable[[File], str | None]
_guards: list[DeletionGuard] = []


def register_deletion_guard(guard: DeletionGuard) -> None:
    if guard not in _guards:
        _guards.append(guard)


def deletion_refusal(file: File) -> str | None:
    """Why the file must stay, or None."""
    return next((reason for guard in _guards if (reason := guard(file))), None)
