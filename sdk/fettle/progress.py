"""What one job has said so far, folded event by event, and the words for it. Pure: no clock, no screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

STATUS_WORDS = {
    "validating_files": "checking the files",
    "queued": "waiting for a worker",
    "running": "training",
    "pausing": "pausing after this step",
    "paused": "paused",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
}
TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
BARS = "▁▂▃▄▅▆▇█"
Z_95 = 1.96


@dataclass(frozen=True)
class Reading:
    """The numbers of one metrics event. What the event does not carry is None."""

    step: int | None = None
    total_steps: int | None = None
    train_reward: float | None = None
    train_loss: float | None = None
    valid_reward: float | None = None
    valid_loss: float | None = None
    valid_margin: float | None = None
    kl_nats: float | None = None
    tokens_per_s: float | None = None
    eta_s: float | None = None


@dataclass(frozen=True)
class Progress:
    """A job as its watcher knows it. `rewards` are the training rewards (or losses) in the order of the steps."""

    job_id: str
    status: str = "queued"
    phase: str = ""
    model: str | None = None
    latest: Reading = Reading()
    rewards: tuple[float, ...] = ()

    def with_status(self, status: str, *, phase: str, model: str | None = None) -> Progress:
        return replace(self, status=status, phase=phase, model=model or self.model)

    def with_event(self, data: Mapping[str, Any] | None) -> Progress:
        """Fold in the `data` of a metrics event; what it leaves out stays as it was. Other events change nothing."""
        found = reading(data)
        if not number_words(found):  # a verdict names a step too, and is no progress
            return self
        known = {name: value for name, value in vars(found).items() if value is not None}
        curve = found.train_reward if found.train_reward is not None else found.train_loss
        rewards = self.rewards if curve is None else (*self.rewards, curve)
        return replace(self, latest=replace(self.latest, **known), rewards=rewards)


def reading(data: Mapping[str, Any] | None) -> Reading:
    """Read the wire's nested keys, its older flat ones, and Fettle's `fettle` object."""
    data = data or {}
    scores = _mapping(data.get("scores"))
    extra = _mapping(data.get("fettle"))
    evaluation = _mapping(extra.get("evaluation"))
    error = _number(evaluation, "standard_error")
    step, total = _number(data, "step"), _number(data, "total_steps")
    train = _number(scores, "train_reward_mean")
    valid = _number(scores, "valid_reward_mean")
    return Reading(
        step=None if step is None else int(step),
        total_steps=None if total is None else int(total),
        train_reward=train if train is not None else _number(data, "train_mean_reward"),
        train_loss=_number(data, "train_loss"),
        valid_reward=valid if valid is not None else _number(data, "full_valid_mean_reward"),
        valid_loss=_number(data, "full_valid_loss", "valid_loss"),
        valid_margin=None if error is None else Z_95 * error,
        kl_nats=_number(extra, "kl_nats") if "kl_nats" in extra else _number(evaluation, "kl_nats"),
        tokens_per_s=_number(extra, "tokens_per_s"),
        eta_s=_number(extra, "eta_s"),
    )


def status_line(progress: Progress) -> str:
    """`ftjob-1: training`; the model's name once there is one."""
    words = STATUS_WORDS.get(progress.status, progress.status)
    model = f": {progress.model}" if progress.status == "succeeded" and progress.model else ""
    return f"{progress.job_id}: {words}{model}"


def event_line(message: str, *, level: str, data: Mapping[str, Any] | None) -> str:
    """One line for one event: its numbers when it is a metrics event, else its message."""
    found = reading(data)
    if found.step is not None and (numbers := number_words(found)):
        return "  ".join([step_words(found), *numbers])
    prefix = {"warn": "warning: ", "error": "error: "}.get(level, "")
    return prefix + message


def step_words(found: Reading) -> str:
    return f"step {found.step}" + (f"/{found.total_steps}" if found.total_steps else "")


def number_words(found: Reading) -> list[str]:
    """`reward 0.412`, `held-out 0.380 ± 0.041`, ...: what is known, in a fixed order."""
    words = []
    if found.train_reward is not None:
        words.append(f"reward {found.train_reward:.3f}")
    if found.train_loss is not None:
        words.append(f"loss {found.train_loss:.3f}")
    if held_out := held_out_words(found):
        words.append(held_out)
    if found.kl_nats is not None:
        words.append(f"KL {found.kl_nats:.4f}")
    if found.tokens_per_s is not None:
        words.append(f"{found.tokens_per_s:.0f} tokens/s")
    if found.eta_s is not None:
        words.append(f"ETA {duration(found.eta_s)}")
    return words


def held_out_words(found: Reading) -> str | None:
    value = found.valid_reward if found.valid_reward is not None else found.valid_loss
    if value is None:
        return None
    kind = "held-out" if found.valid_reward is not None else "held-out loss"
    margin = f" ± {found.valid_margin:.3f}" if found.valid_margin is not None else ""
    return f"{kind} {value:.3f}{margin}"


def duration(seconds: float) -> str:
    """`9 s`, `4 min`, `2 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def sparkline(values: Sequence[float], *, width: int = 32) -> str:
    """The values as bars from the lowest to the highest; more than `width` are averaged into as many buckets."""
    if not values:
        return ""
    count = min(width, len(values))
    edges = [round(i * len(values) / count) for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    if high == low:
        return BARS[0] * count
    return "".join(BARS[min(len(BARS) - 1, int((mean - low) / (high - low) * len(BARS)))] for mean in means)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(source: Mapping[str, Any], *names: str) -> float | None:
    for name in names:
        value = source.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    return None
