"""Rules that notice a run going wrong, and what to do about it. No tensors: numbers in, findings out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

Action = Literal["tell", "skip", "halve_rate", "roll_back", "reload_sampler", "stop"]

_WINDOW = 20
_MAX_SKIPS = 3
_NORM_HIGH, _NORM_SPIKE = 5.0, 10.0
_MASKED_WARN, _MASKED_ACT = 0.05, 0.20
_MISMATCH_WARN, _MISMATCH_ACT = 0.01, 0.1
_MAX_FALLS, _MAX_ROLLBACKS = 2, 4
_NUM_FIRST, _SETTLED, _DECAY = 20, 5, 0.8
# How far training reward must lie below what the same rows have reached, in units of its usual spread.
_FALLING = 0.75
_FEW_INFORMATIVE = 0.20


@dataclass(frozen=True)
class Finding:
    """What a rule noticed and what it asks for, in words for people and in numbers for charts.

    tell: nothing but the event. skip: do not apply the update. halve_rate: of learning. roll_back: go on from the best
    candidate with half the rate. reload_sampler: that, and the sampler reads it anew and is compared with the learner.
    stop: end training; the candidates so far remain.
    """

    code: str
    message: str
    action: Action = "tell"
    level: Literal["info", "warn"] = "warn"
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Signs:
    """What one step showed. None: not measured.

    Attributes:
        shortfall: how far the rows' rewards lie below the best these rows have had, in units of the usual spread.
        repeated_share: of 4-grams of token ids that occurred before in the same completion.
        garbled_share: of characters that are no text: broken UTF-8, control characters.
    """

    shortfall: float | None
    entropy_nats: float | None
    truncated_share: float
    repeated_share: float
    garbled_share: float


@dataclass
class Health:
    """Memory of the rules; part of the checkpoint.

    Attributes:
        norms: gradient norms of the last applied updates.
        bad_steps: steps of the last 20 whose update was skipped.
        lr_scale: factor on the learning rate, halved by every intervention that asks for smaller steps.
        num_falls: rollbacks because of evaluations; after two, training stops. `num_rollbacks` are all of them.
        first: sums of what the first 20 steps showed, by sign; `num_first` counts them.
        recent: moving averages of what the last steps showed; `num_recent` counts the steps since a rollback.
        told: how often each finding was made; it is told the 1st, 2nd, 4th, 8th, ... time.
    """

    norms: list[float] = field(default_factory=list)
    bad_steps: list[int] = field(default_factory=list)
    lr_scale: float = 1.0
    num_falls: int = 0
    num_rollbacks: int = 0
    masked_alarm: bool = False
    num_first: dict[str, int] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    recent: dict[str, float] = field(default_factory=dict)
    num_recent: int = 0
    told: dict[str, int] = field(default_factory=dict)

    @property
    def usual_norm(self) -> float:
        """Median gradient norm of the last applied updates; 0 before the first."""
        return median(self.norms) if self.norms else 0.0

    def is_news(self, finding: Finding) -> bool:
        """Whether to tell it: always when it changes how training goes on, else at the 1st, 2nd, 4th, 8th, ... time."""
        self.told[finding.code] = self.told.get(finding.code, 0) + 1
        return finding.action not in ("tell", "skip") or self.told[finding.code].bit_count() == 1

    def judge_update(self, step: int, *, loss: float, grad_norm: float, mismatch_kl: float = 0.0) -> Finding | None:
        """Whether an update may be applied; None: yes, without a remark.

        Not if loss or gradient is not finite or 10 times the usual size: three such steps in 20 ask for a rollback,
        because then the weights themselves are suspect. Nor if the sampler drew from another distribution than the
        learner's (`mismatch_kl`: k3 per token, same weights): then the completions do not tell about this policy.
        """
        self.bad_steps = [bad for bad in self.bad_steps if bad > step - _WINDOW]
        values = {"grad_norm": grad_norm, "usual_norm": self.usual_norm, "mismatch_kl": mismatch_kl}
        if mismatch_kl > _MISMATCH_ACT:
            why = f"sampler and learner differ by {mismatch_kl:.3f} nats per token under the same weights"
            return self._roll_back("sampler_mismatch", why, values, action="reload_sampler")
        finite = math.isfinite(loss) and math.isfinite(grad_norm)
        known = finite and len(self.norms) >= _WINDOW
        if not finite or (known and grad_norm > _NORM_SPIKE * self.usual_norm):
            found = (
                "a value that is not finite" if not finite else f"{grad_norm:.3g}, {_NORM_SPIKE:.0f} times the usual"
            )
            return self._skip(step, f"step {step} was skipped: loss {loss:.4g}, gradient norm {found}", values)
        usual = self.usual_norm
        if grad_norm > 0:  # it is not when every token is masked
            self.norms = [*self.norms, grad_norm][-_WINDOW:]
        if known and grad_norm > _NORM_HIGH * usual:
            why = f"the gradient of step {step} has the norm {grad_norm:.3g} against a usual {usual:.3g}"
            return Finding("grad_norm_high", why, values=values)
        if mismatch_kl > _MISMATCH_WARN:
            why = f"sampler and learner differ by {mismatch_kl:.3f} nats per token; that is numerics, not your data"
            return Finding("sampler_mismatch", why, values=values)
        return None

    def _skip(self, step: int, why: str, values: dict[str, float]) -> Finding:
        values = {name: value for name, value in values.items() if math.isfinite(value)}
        self.bad_steps.append(step)
        if len(self.bad_steps) < _MAX_SKIPS:
            return Finding("update_skipped", why, "skip", values=values)
        self.bad_steps, self.norms = [], []
        return self._roll_back("update_skipped", f"{_MAX_SKIPS} of the last {_WINDOW} steps were skipped", values)

    def watch_masks(self, masked_share: float) -> Finding | None:
        """Tokens left out because sampler and learner disagree on them. The rate is halved once: again and again would
        end in a standstill where a lossy dtype masks many tokens for good."""
        values = {"masked_share": masked_share}
        why = (
            f"sampler and learner disagree on {masked_share:.0%} of the tokens, which are left out. This points at "
            "numerics (dtype, kernels), not at your data."
        )
        if masked_share > _MASKED_ACT and not self.masked_alarm:
            self.masked_alarm = True
            return Finding("tokens_masked", why, "halve_rate", values=values)
        return Finding("tokens_masked", why, values=values) if masked_share > _MASKED_WARN else None

    def observe_step(self, signs: Signs) -> list[Finding]:
        """Compare a step with the first 20. A sign alone is told; with falling reward it asks for a rollback.

        Falling reward is asked for because each sign has an innocent cause: entropy collapses when a task is solved,
        and an answer that repeats itself may be what the grader wants.
        """
        measured = {
            "shortfall": signs.shortfall,
            "entropy_nats": signs.entropy_nats,
            "truncated_share": signs.truncated_share,
            "repeated_share": signs.repeated_share,
            "garbled_share": signs.garbled_share,
        }
        self.num_recent += 1
        for name, value in measured.items():
            if value is not None and math.isfinite(value):
                self._remember(name, value)
        findings = list(self._compared()) if self.num_recent >= _SETTLED else []
        grave = [finding for finding in findings if finding.action == "roll_back"]
        return [self._roll_back(one.code, one.message, dict(one.values)) for one in grave[:1]] or findings

    def _remember(self, name: str, value: float) -> None:
        if self.num_first.get(name, 0) < _NUM_FIRST:
            self.num_first[name] = self.num_first.get(name, 0) + 1
            self.first[name] = self.first.get(name, 0.0) + value
        self.recent[name] = _DECAY * self.recent[name] + (1 - _DECAY) * value if name in self.recent else value

    def _compared(self) -> Iterator[Finding]:
        falling = self.recent.get("shortfall", 0.0) > _FALLING and self.num_first["shortfall"] == _NUM_FIRST
        grave: Action = "roll_back" if falling else "tell"
        for name, now in self.recent.items():
            if self.num_first[name] < _NUM_FIRST:
                continue
            start = self.first[name] / _NUM_FIRST
            values = {name: now, "start": start, "shortfall": self.recent.get("shortfall", 0.0)}
            beside = " while reward falls" if falling else ""
            if name == "entropy_nats" and now < 0.1 * start:
                why = f"entropy is {now:.3f} nats per token, under a tenth of the {start:.3f} at the start{beside}"
                yield Finding("entropy_collapsed", why, grave, level="warn" if falling else "info", values=values)
            elif name == "entropy_nats" and now > 1.5 * start and falling:
                why = (
                    f"entropy is {now:.3f} nats per token, {now / start:.1f} times that of the start{beside}: gibberish"
                )
                yield Finding("gibberish", why, grave, values=values)
            elif name in ("repeated_share", "garbled_share") and now > max(2 * start, start + 0.05):
                what = "repeated 4-grams" if name == "repeated_share" else "characters that are no text"
                why = f"the share of {what} in the completions is {now:.0%} against {start:.0%} at the start{beside}"
                act = grave if now > max(4 * start, start + 0.10) else "tell"
                yield Finding("repetition" if name == "repeated_share" else "gibberish", why, act, values=values)
            elif name == "truncated_share" and falling and now > max(0.3, start + 0.2):
                why = f"{now:.0%} of the completions reach the length limit against {start:.0%} at the start{beside}"
                yield Finding("truncation", why, grave, values=values)

    def judge_evaluation(self, difference: float, standard_error: float) -> Finding | None:
        """Compare an evaluation with the best one so far: three standard errors below it ask for a rollback."""
        if not (math.isfinite(standard_error) and standard_error > 0 and difference < -standard_error):
            return None
        values = {"difference": difference, "standard_error": standard_error}
        errors = difference / standard_error
        why = f"the held-out reward is {-difference:.4f} below the best so far, {-errors:.1f} standard errors"
        if errors >= -3:
            return Finding("evaluation_fell", why, level="info", values=values)
        if self.num_falls >= _MAX_FALLS:
            return Finding("evaluation_fell", f"{why}, for the third time", "stop", values=values)
        self.num_falls += 1
        return self._roll_back("evaluation_fell", why, values)

    def judge_signal(self, informative_share: float) -> Finding | None:
        """Share of the groups since the last evaluation whose completions differed in reward."""
        if informative_share >= _FEW_INFORMATIVE:
            return None
        why = f"only {informative_share:.0%} of the prompts have answers of different reward; the others teach nothing"
        return Finding("little_signal", why, level="info", values={"informative_share": informative_share})

    def _roll_back(self, code: str, why: str, values: dict[str, float], *, action: Action = "roll_back") -> Finding:
        self.num_rollbacks += 1
        if self.num_rollbacks > _MAX_ROLLBACKS:
            return Finding(code, f"{why}, after {_MAX_ROLLBACKS} returns to an earlier state", "stop", values=values)
        return Finding(code, why, action, values=values)

    def start_afresh(self) -> None:
        """After a rollback what the last steps showed says nothing any more."""
        self.norms, self.recent, self.num_recent = [], {}, 0
        self.lr_scale /= 2


def judge_gap(*, train: tuple[float, float], held_out: float, standard_error: float, since_step: int) -> Finding | None:
    """Whether training reward rose since the best evaluation while held-out reward fell: two standard errors flag it.

    Args:
        train: training reward at that evaluation and now, over the same rows.
        held_out: paired difference of the held-out reward, now minus then, with its standard error.
    """
    then, now = train
    if not (math.isfinite(standard_error) and standard_error > 0 and now > then and held_out < -standard_error):
        return None
    values = {"train_then": then, "train_now": now, "held_out": held_out, "standard_error": standard_error}
    why = (
        f"since step {since_step} training reward rose from {then:.3f} to {now:.3f} while held-out reward fell by "
        f"{-held_out:.3f}"
    )
    if held_out >= -2 * standard_error:
        return Finding("train_and_held_out_part", why, level="info", values=values)
    why += ": rows are learned by heart, or the grader is tricked. This checkpoint cannot be delivered; look at its "
    return Finding("suspected_reward_hacking", why + "completions", values=values)


def judge_second_opinion(name: str, *, gain: float, change: float, standard_error: float) -> Finding | None:
    """Whether a grader that is no part of the reward fell while the reward rose: two standard errors flag it.

    Args:
        gain: paired difference of the reward to step 0 on the held-out rows.
        change: the same of the grader `name`, with its standard error.
    """
    if not (math.isfinite(standard_error) and standard_error > 0 and gain > 0 and change < -standard_error):
        return None
    values = {"gain": gain, "change": change, "standard_error": standard_error}
    why = f"since step 0 the reward rose by {gain:.3f} while {name}, which is no part of it, fell by {-change:.3f}"
    if change >= -2 * standard_error:
        return Finding("second_grader_fell", why, level="info", values=values)
    why += ": the reward may be tricked. This checkpoint cannot be delivered; look at its completions"
    return Finding("suspected_reward_hacking", why, values=values)
