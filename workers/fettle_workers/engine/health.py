"""Rules that notice a run going wrong, and what to do about it. No tensors: numbers in, an action out."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from fettle_workers.engine.errors import JobFailed

Action = Literal["apply", "skip", "roll_back"]

_WINDOW = 20
_MAX_SKIPS = 3
_NORM_SPIKE = 10.0
_MAX_ROLLBACKS = 2
_MASKED_SHARE_WARN, _MASKED_SHARE_ACT = 0.05, 0.20
_FIRST_GRADES = 32
_GRADE_WINDOW, _MAX_FAILED_SHARE = 500, 0.20


@dataclass
class Health:
    """Memory of the rules; part of the checkpoint.

    Attributes:
        norms: gradient norms of the last applied updates.
        bad_steps: steps of the last 20 whose update was skipped.
        lr_scale: factor on the learning rate, halved by every intervention that asks for smaller steps.
        num_shortened: steps that would have moved the policy too far.
        num_rollbacks: rollbacks because of evaluations; after two, training stops.
    """

    norms: list[float] = field(default_factory=list)
    bad_steps: list[int] = field(default_factory=list)
    lr_scale: float = 1.0
    num_rollbacks: int = 0
    masked_alarm: bool = False
    num_shortened: int = 0

    @property
    def usual_norm(self) -> float:
        """Median gradient norm of the last applied updates; 0 before the first."""
        return median(self.norms) if self.norms else 0.0

    def judge_update(self, step: int, *, loss: float, grad_norm: float) -> Action:
        """Whether an update may be applied: not if loss or gradient is not finite, or 10 times the usual size.

        Three such steps in 20 ask for a rollback: then the weights themselves are suspect.
        """
        self.bad_steps = [bad for bad in self.bad_steps if bad > step - _WINDOW]
        finite = math.isfinite(loss) and math.isfinite(grad_norm)
        spike = finite and len(self.norms) >= _WINDOW and grad_norm > _NORM_SPIKE * self.usual_norm
        if finite and not spike:
            self.norms = [*self.norms, grad_norm][-_WINDOW:]
            return "apply"
        self.bad_steps.append(step)
        if len(self.bad_steps) < _MAX_SKIPS:
            return "skip"
        self.bad_steps, self.norms = [], []
        return "roll_back"

    def count_shortened(self) -> bool:
        """Count a step that was shortened; True at the 1st, 2nd, 4th, 8th, ...: often enough to tell."""
        self.num_shortened += 1
        return self.num_shortened.bit_count() == 1

    def watch_masks(self, masked_share: float) -> str | None:
        """Halve the learning rate once when sampler and learner disagree on many tokens. Returns a warning."""
        if masked_share > _MASKED_SHARE_ACT and not self.masked_alarm:
            self.masked_alarm = True
            self.lr_scale /= 2
            return (
                f"sampler and learner disagree on {masked_share:.0%} of the tokens; these are left out and the "
                "learning rate is halved. This points at numerics (dtype, kernels), not at your data."
            )
        return None

    def judge_evaluation(self, difference: float, standard_error: float) -> Literal["fine", "roll_back", "stop"]:
        """Compare an evaluation with the best one so far: three standard errors below it ask for a rollback."""
        if not (math.isfinite(standard_error) and standard_error > 0 and difference < -3 * standard_error):
            return "fine"
        if self.num_rollbacks >= _MAX_ROLLBACKS:
            return "stop"
        self.num_rollbacks += 1
        return "roll_back"


@dataclass
class GradeLog:
    """The last 500 grades, and the circuit breaker on them; part of the checkpoint.

    A grader that failed is not a grade of zero: such completions train nothing, and too many of them end the job.
    """

    num_grades: int = 0
    num_failed: int = 0
    recent: list[bool] = field(default_factory=list)
    messages: dict[str, int] = field(default_factory=dict)

    def record(self, message: str | None) -> None:
        """Count one grade; `message` is None when it succeeded.

        Raises:
            JobFailed: all of the first 32 grades, or 20 % of the last 500, failed.
        """
        failed = message is not None
        self.num_grades += 1
        self.num_failed += failed
        self.recent = [*self.recent[-_GRADE_WINDOW + 1 :], failed]
        if message is not None:
            self._remember(message)
        if self.num_grades == self.num_failed == _FIRST_GRADES:
            raise self._failure(f"the first {_FIRST_GRADES} grades all failed")
        if sum(self.recent) >= _MAX_FAILED_SHARE * _GRADE_WINDOW:
            raise self._failure(f"{sum(self.recent)} of the last {len(self.recent)} grades failed")

    def _remember(self, message: str) -> None:
        if message in self.messages or len(self.messages) < 50:
            self.messages[message] = self.messages.get(message, 0) + 1

    def _failure(self, found: str) -> JobFailed:
        common = Counter(self.messages).most_common(5)
        shown = "; ".join(f"{count} times: {message}" for message, count in common)
        advice = "Run the grader on a few rows and completions before starting the job again."
        return JobFailed(
            "grader_error_rate_exceeded", f"{found}. {shown}. {advice}", param="method.reinforcement.grader"
        )


@dataclass
class EarlyStop:
    """Patience on evaluations, never on the training reward; part of the checkpoint.

    Training reward may stand at 100 % while held-out reward still rises for hundreds of steps (arXiv:2504.20571).
    The reference moves only by gains above one standard error, so many small gains add up to one.
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
        if self.evaluations_without_gain >= self.PATIENCE:
            return f"early stop: {self.PATIENCE} evaluations without a measurable gain since step {self.reference_step}"
        return None


@dataclass
class KlControl:
    """The coefficient on KL to the base: zero until the budget is passed, then rising until it holds; checkpointed.

    Source: adaptive coefficient on k1 in the reward, arXiv:2512.21852; starting value as in arXiv:2504.20571.
    """

    coef: float = 0.0

    START, GROWTH = 1e-3, 1.5

    def observe(self, kl_nats: float, *, budget_nats: float) -> str | None:
        """One evaluation's KL in nats per token. Returns why to stop, or None."""
        if kl_nats > 2 * budget_nats:
            return f"KL to the base reached {kl_nats:.3f} nats per token, twice the budget of {budget_nats:.3f}"
        if kl_nats > budget_nats:
            self.coef = self.coef * self.GROWTH if self.coef else self.START
        return None
