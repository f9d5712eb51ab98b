"""How many requests one key may have in the air. Held in this process; several processes each allow as many."""

from __future__ import annotations

import threading
from collections import Counter

from fettle_platform.core.errors import RateLimited

MAX_CONCURRENT = 32

_lock = threading.Lock()
_in_flight: Counter[str] = Counter()


class Slot:
    """One request's place. `release` may be called from any thread, any number of times."""

    def __init__(self, owner: str) -> None:
        self._owner: str | None = owner

    def release(self) -> None:
        with _lock:
            owner, self._owner = self._owner, None
            if owner is None:
                return
            _in_flight[owner] -= 1
            if _in_flight[owner] <= 0:
                del _in_flight[owner]


def take_slot(owner: str, *, limit: int = MAX_CONCURRENT) -> Slot:
    """Raises RateLimited: the owner already has `limit` requests in flight."""
    with _lock:
        if _in_flight[owner] >= limit:
            raise RateLimited(f"This key has {limit} requests in progress; wait until one has ended.", retry_after_s=1)
        _in_flight[owner] += 1
    return Slot(owner)


def num_in_flight(owner: str) -> int:
    with _lock:
        return _in_flight.get(owner, 0)
