"""The lease on an attempt: extended from a thread of its own, so that a long upload does not let it run out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fettle_workers.contract.internal import Desired, HeartbeatRequest, HeartbeatResponse
from fettle_workers.supervisor.control_plane import ControlPlane, ControlPlaneAway, Fenced, Refused


class Lease:
    """Beats until closed. `lost` is set when the attempt is over or could be, seen by the monotonic clock.

    A supervisor that cannot reach the control plane gives up one fifth before the lease runs out there, so that two
    trainers of one job never run at the same time.
    """

    def __init__(
        self,
        control: ControlPlane,
        attempt: int,
        lease_s: float,
        *,
        heartbeat_s: float,
        on_change: Callable[[], None],
    ) -> None:
        self._control, self._attempt, self._on_change = control, attempt, on_change
        self._heartbeat_s = min(heartbeat_s, lease_s / 4)
        self._valid_until = time.monotonic() + lease_s * 0.8
        self.desired: Desired = "run"
        self.lost = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def note(self, answer: HeartbeatResponse, asked_at: float) -> None:
        """Take over what the control plane answered to a call that began at `asked_at` (monotonic)."""
        self._valid_until = max(self._valid_until, asked_at + answer.lease_s * 0.8)
        if answer.desired != self.desired:
            self.desired = answer.desired
            self._on_change()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._closed.wait(self._heartbeat_s):
            asked_at = time.monotonic()
            try:
                self.note(self._control.heartbeat(HeartbeatRequest(attempt=self._attempt)), asked_at)
            except (Fenced, Refused):
                over = True
            except ControlPlaneAway:
                over = time.monotonic() > self._valid_until
            else:
                over = False
            if over:
                self.lost.set()
                self._on_change()
                return
