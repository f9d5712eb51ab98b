"""Which tier is used: the first that passed its self-test, tested again every ten minutes and never silently weaker."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from fettle_graders.errors import SandboxFault
from fettle_graders.sandbox.selftest import self_test
from fettle_graders.sandbox.tiers import Limits, Program, Tier, TierUnavailable, policy_version
from fettle_graders.sandbox.worker import Worker

_CHECK_AGAIN_S, _TRY_AGAIN_S = 600.0, 30.0


class TierChoice:
    """What the last self-tests found. A tier that was chosen once is kept: a job does not change its tier on the way.

    Args:
        tiers: which to try, best first.
        start: makes a worker, in the thread that calls `check`.
    """

    def __init__(self, tiers: Sequence[Tier], limits: Limits, start: Callable[[Tier, Program, Limits], Worker]) -> None:
        self.tier: Tier | None = None
        self.reasons: dict[Tier, str] = {}
        self.checks: list[str] = []
        self.checked_at = float("-inf")  # monotonic
        self._tiers = tuple(tiers)
        self._limits = limits
        self._start = start

    def is_due(self) -> bool:
        return time.monotonic() - self.checked_at > (_CHECK_AGAIN_S if self.tier else _TRY_AGAIN_S)

    def check(self) -> None:
        """Test the tier in use, or look for one. Not from two threads at once."""
        if not self.is_due():  # another caller's wish has just been answered
            return
        reasons = {tier: why for tier, why in self.reasons.items() if tier not in self._tiers}
        checks: list[str] = []
        chosen: Tier | None = None
        for tier in self._tiers:
            try:
                checks = self_test(tier, self._limits, self._start)
            except (TierUnavailable, OSError, ValueError) as error:
                reasons[tier] = str(error)
            else:
                chosen, reasons[tier] = tier, "in use: its self-test passed"
                self._tiers = (tier,)
                break
        self.tier, self.reasons, self.checks, self.checked_at = chosen, reasons, checks, time.monotonic()

    def require(self) -> Tier:
        """Raises SandboxFault: `sandbox_unavailable`, with the reason for each tier."""
        if self.tier is None:
            reasons = "; ".join(f"{tier}: {reason}" for tier, reason in self.reasons.items())
            raise SandboxFault(
                "sandbox_unavailable", f"code cannot be run here, as no sandbox passed its self-test. {reasons}"
            )
        return self.tier

    def status(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "tier": self.tier,
            "available": self.tier is not None,
            "reasons": dict(self.reasons),
            "checks": list(self.checks),
            "checked_seconds_ago": round(time.monotonic() - self.checked_at, 1),
            "policy_version": policy_version(),
        }
