"""When to end training although steps are left."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class EarlyStop:
    """Patience on evaluations, never on the training reward; part of the checkpoint.

    Training reward may stand at 100 % while held-out reward still rises for hundreds of steps (arXiv:2504.20571).
    The reference moves only by gains above one standard error, so many small gains add up to one. Before the first
    gain patience is double: a slow start is not a standstill.
    """

    reference_step: int = 0
    evaluations_without_gain: int = 0
    evaluations_without_signal: int = 0

    PATIENCE = 5
    NO_SIGNAL_SHARE, NO_SIGNAL_PATIENCE = 0.05, 3

    def observe(self, step: int, *, gain: float, standard_error: float, informative_share: float) -> str | None:
        """One evaluation: its paired gain over the reference step, and the share of groups that taught something
        since the last evaluation. Returns why to stop, or None."""
        if gain > (standard_error if math.isfinite(standard_error) else 0.0):
            self.reference_step, self.evaluations_without_gain = step, 0
        else:
            self.evaluations_without_gain += 1
        quiet = informative_share < self.NO_SIGNAL_SHARE
        self.evaluations_without_signal = self.evaluations_without_signal + 1 if quiet else 0
        if self.evaluations_without_signal >= self.NO_SIGNAL_PATIENCE:
            return "converged: almost no prompt has answers of different reward any more"
        patience = self.PATIENCE if self.reference_step else 2 * self.PATIENCE
        if self.evaluations_without_gain >= patience:
            return f"early stop: {patience} evaluations without a measurable gain since step {self.reference_step}"
        return None
