"""Coefficients that are zero until they are needed. Each is told what was measured, and is part of the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field

from fettle_workers.engine.health import Finding


@dataclass
class KlControl:
    """The coefficient on KL to the base: zero until the budget is passed, then rising until it holds.

    Source: adaptive coefficient on k1 in the reward, arXiv:2512.21852; starting value as in arXiv:2504.20571.
    """

    coef: float = 0.0
    warned: bool = False

    START, GROWTH, WARN_SHARE = 1e-3, 1.5, 0.8

    def observe(self, kl_nats: float, *, budget_nats: float) -> Finding | None:
        """One evaluation's KL in nats per token."""
        values = {"kl_nats": kl_nats, "budget_nats": budget_nats}
        if kl_nats > 2 * budget_nats:
            why = f"KL to the base reached {kl_nats:.3f} nats per token, twice the budget of {budget_nats:.3f}"
            return Finding("kl_over_budget", why, "stop", values=values)
        if kl_nats > budget_nats:
            self.coef = self.coef * self.GROWTH if self.coef else self.START
            why = (
                f"KL to the base is {kl_nats:.3f} nats per token, over the budget of {budget_nats:.3f}: leaving the "
                f"base now costs reward (coefficient {self.coef:.4g})"
            )
            return Finding("kl_penalty_raised", why, values=values | {"coef": self.coef})
        if kl_nats > self.WARN_SHARE * budget_nats and not self.warned:
            self.warned = True
            why = f"KL to the base is {kl_nats:.3f} nats per token, near the budget of {budget_nats:.3f}"
            return Finding("kl_near_budget", why, level="info", values=values)
        return None


@dataclass
class EntropyFloor:
    """The coefficient of an entropy bonus: zero until entropy has fallen under 30 % of its mean over the first steps.

    Below that it grows by 0.005 a step and above it shrinks, and it is only applied below. There is no bonus at the
    start: early entropy mostly falls because the policy learns.

    Source: Skywork-OR1, arXiv:2505.22312, with a target relative to the run's own start instead of a fixed 0.2.
    """

    first: list[float] = field(default_factory=list)
    stored: float = 0.0
    below: bool = False

    NUM_FIRST, FLOOR_SHARE = 20, 0.30
    STEP, MAX = 0.005, 0.05

    @property
    def start(self) -> float | None:
        """Mean entropy of the first 20 trained steps; None before there are as many."""
        return sum(self.first) / len(self.first) if len(self.first) == self.NUM_FIRST else None

    @property
    def coef(self) -> float:
        return self.stored if self.below else 0.0

    def observe(self, entropy_nats: float) -> Finding | None:
        """One step's mean entropy of the trained tokens."""
        if self.start is None:
            self.first.append(entropy_nats)
            return None
        floor = self.FLOOR_SHARE * self.start
        was_on, self.below = self.coef > 0, entropy_nats < floor
        self.stored = min(self.MAX, max(0.0, self.stored + (self.STEP if self.below else -self.STEP)))
        if (self.coef > 0) == was_on:
            return None
        values = {"entropy_nats": entropy_nats, "floor_nats": floor, "coef": self.coef}
        if was_on:
            return Finding("entropy_bonus_off", "entropy is back above its floor", level="info", values=values)
        why = (
            f"entropy fell to {entropy_nats:.3f} nats per token, under {self.FLOOR_SHARE:.0%} of the {self.start:.3f} "
            "it began with: varied answers earn a small bonus until it is back"
        )
        return Finding("entropy_bonus_on", why, level="info", values=values)


@dataclass
class LengthControl:
    """The coefficient of the length penalty: zero until answers have grown by half since they last got better."""

    coef: float = 0.0

    ON, GROWTH, PATIENCE = 0.1, 1.5, 2

    def observe(self, *, tokens_then: float, tokens_now: float, evaluations_without_gain: int) -> Finding | None:
        """After an evaluation: mean length of the answers in it, and in the last one that was a gain."""
        if self.coef or tokens_now <= self.GROWTH * tokens_then or evaluations_without_gain < self.PATIENCE:
            return None
        self.coef = self.ON
        why = (
            f"answers grew from {tokens_then:.0f} to {tokens_now:.0f} tokens and for {evaluations_without_gain} "
            "evaluations got no better: where most answers of a prompt are good, long ones now earn a little less"
        )
        return Finding("length_penalty_on", why, values={"tokens_mean": tokens_now, "coef": self.coef})
