"""What waiting for a preflight comes to, whichever client waits."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import TypeVar

from fettle.errors import JobFailed, JobTimeout
from fettle.lab_results import Preflight

T = TypeVar("T")


def ended(found: Preflight) -> Preflight:
    """Raises JobFailed: it ended without a report."""
    if found.status == "succeeded":
        return found
    error = found.error or {}
    said = error.get("message") or "it was cancelled"
    raise JobFailed(
        f"preflight {found.id} {found.status}: {said}", job_id=found.id, status=found.status, code=error.get("code")
    )


def must_wait_again(until_s: float | None, now_s: float, poll_s: float) -> float:
    """Seconds until the next look. Raises JobTimeout."""
    if until_s is not None and now_s >= until_s:
        raise JobTimeout("the preflight has not ended in the time given", fix="It goes on; wait for it again.")
    return poll_s if until_s is None else min(poll_s, until_s - now_s)


def preflight_id(preflight: Preflight | str | None) -> str | None:
    return preflight.id if isinstance(preflight, Preflight) else preflight


async def first(pages: AsyncIterable[T], limit: int) -> list[T]:
    """At most `limit` of them."""
    found: list[T] = []
    async for one in pages:
        if len(found) >= limit:
            break
        found.append(one)
    return found
