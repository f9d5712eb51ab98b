"""The bell of the tick loop: whoever left work for it rings, so that nothing waits for the next round."""

from __future__ import annotations

import threading

_bell = threading.Event()


def wake_tick() -> None:
    """Let a tick loop in this process run at once. Loops in other processes run at their next interval."""
    _bell.set()


def wait_for_wake(timeout_s: float) -> None:
    """Return when the bell rings or the time is over, and silence it."""
    _bell.wait(timeout_s)
    _bell.clear()
