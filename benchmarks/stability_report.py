"""The table of `stability.py`: what the runs so far show, and how many of all they are."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from machine import table

from fettle_workers.engine.select import measure_gain

Record = dict[str, Any]
# One-sided 95 %.
_NORMAL = 1.645


def report(records: Sequence[Record], *, planned: int) -> str:
    """One part for each recipe, in the order in which they were run."""
    recipes = dict.fromkeys(record.get("recipe") for record in records)
    parts = []
    for recipe in recipes:
        own = [record for record in records if record.get("recipe") == recipe]
        parts.append(f"Recipe {recipe or 'unknown'}: {_of_one_recipe(own, planned=planned)}")
    return "\n\n".join(parts)


def _of_one_recipe(records: Sequence[Record], *, planned: int) -> str:
    true = [record for record in records if record["reward"] == "true"]
    parts = [f"{len(records)} of {planned} runs; {len(true)} with the true reward.", "", _rates(true)]
    parts += ["", _families(true), "", _control([record for record in records if record["reward"] == "random"])]
    worse = [record for record in true if _is_worse(record)]
    parts += ["", f"Delivered measurably worse than the base: {_names(worse) or 'none'}."]
    return "\n".join(parts)


def _rates(records: Sequence[Record]) -> str:
    groups = sorted({(record["setting"], record["rate"]) for record in records})
    rows = [
        _cells([f"{setting}", f"x {rate:g}"], [r for r in records if (r["setting"], r["rate"]) == (setting, rate)])
        for setting, rate in groups
    ]
    return table(["setting", "rate", *_COLUMNS], [*rows, _cells(["all", ""], records)])


def _families(records: Sequence[Record]) -> str:
    names = list(dict.fromkeys(record["family"] for record in records))
    rows = []
    for name in names:
        own = [record for record in records if record["family"] == name]
        base = f"{_mean([r['base'] for r in own]):.2f} / {_mean([r['base_at_8'] for r in own]):.2f}"
        rows.append(_cells([name, base], own))
    return table(["family", "base pass@1 / @8", *_COLUMNS], rows)


_COLUMNS = ("runs", "not worse", "improved", "improved, where it can", "sealed gain", "last, not delivered", "s")


def _cells(head: list[str], records: Sequence[Record]) -> list[str]:
    can = [record for record in records if _can_improve(record)]
    return [
        *head,
        str(len(records)),
        _share([not _is_worse(record) for record in records]),
        _share([_is_better(record) for record in records]),
        _share([_is_better(record) for record in can]),
        _range([record["gain"][0] for record in records]),
        _range([record["last_gain"][0] for record in records]),
        f"{_mean([record['train_s'] for record in records]):.0f}",
    ]


def _control(records: Sequence[Record]) -> str:
    """Random rewards: gain on the true task over the runs, with the interval over (family, seed)."""
    if len(records) < 2:
        return "Random-reward control: fewer than two runs."
    lines = [f"Random-reward control, {len(records)} runs, mean gain on the true task with its 95 % interval:"]
    for name, key in (("delivered", "gain"), ("last, not delivered", "last_gain")):
        values = np.array([record[key][0] for record in records])
        found = measure_gain(values, np.zeros(len(values)))  # of few runs by Student's t
        lines.append(f"{name}: {found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})")
    claimed = sum(record.get("verdict") == "improved" for record in records)
    worse = _names([record for record in records if _is_worse(record)]) or "none"
    lines.append(f'"improved" was claimed of the random reward in {claimed}; delivered worse on the true task: {worse}')
    return "\n".join(lines)


def _is_worse(record: Record) -> bool:
    gain, error = record["gain"]
    return bool(gain + _NORMAL * error < 0)


def _is_better(record: Record) -> bool:
    gain, error = record["gain"]
    return bool(gain - _NORMAL * error > 0)


def _can_improve(record: Record) -> bool:
    """The base solves at least 5 points more in eight tries than in one, so there is something to prefer."""
    return bool(record["base_at_8"] - record["base"] > 0.05)


def _share(values: Sequence[bool]) -> str:
    if not values:
        return "-"
    low, high = exact_interval(sum(values), len(values))
    return f"{sum(values)} of {len(values)} ({low:.0%} to {high:.0%})"


def exact_interval(successes: int, trials: int) -> tuple[float, float]:
    """Two-sided 95 % bounds on a share. Source: Clopper & Pearson 1934."""

    def at_most(number: int, chance: float) -> float:
        return sum(math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(number + 1))

    def where(number: int, wanted: float) -> float:
        """The chance under which at most `number` successes have the probability `wanted`, by halving."""
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if at_most(number, middle) > wanted else (low, middle)
        return low

    lowest = 0.0 if successes == 0 else where(successes - 1, 0.975)
    return lowest, 1.0 if successes == trials else where(successes, 0.025)


def _range(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{statistics.median(values):+.2f} ({min(values):+.2f} to {max(values):+.2f})"


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def _names(records: Sequence[Record]) -> str:
    return ", ".join(f"{r['family']}/{r['seed']}/x{r['rate']:g}/{r['setting']}" for r in records)
