"""From a table of scores to the verdict of a job; again from a stored one, so that anybody can check it.

python -m fettle_workers.engine.verdict selection.json     # GET /v1/fettle/fine_tuning/jobs/{id}/selection
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fettle_workers.contract.events import CandidateScores, ScoreTable
from fettle_workers.engine.select import (
    Gain,
    Items,
    Judged,
    Scored,
    corrected_gain,
    judge,
    may_claim,
    mean_and_error,
    measure_gain,
)


@dataclass(frozen=True)
class Verdict:
    """`delivered` is the rule's choice if its gain passed the gate, else 0. Means and gain are of what is delivered."""

    delivered: int
    claimed: bool
    base_mean: float
    delivered_mean: float
    gain: Gain
    judged: list[Judged]


def choose(table: ScoreTable) -> tuple[int, list[Judged]]:
    """The rule's choice, before the gate."""
    return judge(_scored(table.candidates), kl_budget_nats=_budget(table))


def reach_verdict(table: ScoreTable, *, in_sample: bool) -> Verdict:
    """Apply the rule, and the gate to its choice.

    Without held-out rows, or with too few, nothing is claimed; the checkpoint is still delivered if it gained on the
    rows there are, because the owner of one row wants that row learned.
    """
    chosen, judged = choose(table)
    if table.method == "corrected":
        base = next(one for one in table.candidates if one.step == 0)
        base_mean = mean_and_error(_items(base.item_means))[0]
        gain = corrected_gain(
            _scored(table.candidates),
            kl_budget_nats=_budget(table),
            seed=table.seed,
            others=_scored(table.others),
        )
    else:
        before = _items(table.base_report)
        base_mean = mean_and_error(before)[0]
        gain = measure_gain(_items(table.chosen_report) if chosen else before, before)
    passed = chosen != 0 and gain.lower_bound > 0
    if chosen != 0 and not passed:
        judged = [_rejected(one, gain) if one.step == chosen else one for one in judged]
    if not passed:
        chosen, gain = 0, Gain(0.0, 0.0, 0.0, 0.0, gain.num_items)
    num_items = len(table.rows) if table.method == "corrected" else len(table.report_rows)
    claimed = passed and table.method != "fresh_answers" and may_claim(num_items, in_sample=in_sample)
    return Verdict(chosen, claimed, base_mean, base_mean + gain.mean, gain, judged)


def _rejected(one: Judged, gain: Gain) -> Judged:
    reason = (
        f"chosen by the rule, but not delivered: its gain was {gain.mean:+.4f} (95 %: {gain.low:+.4f} to "
        f"{gain.high:+.4f}), not above zero with enough confidence"
    )
    return replace(one, reason=reason)


def _scored(stored: Sequence[CandidateScores]) -> list[Scored]:
    return [Scored(one.step, _items(one.item_means), one.kl_nats, one.illness) for one in stored]


def _items(means: Sequence[float | None]) -> Items:
    return np.array([math.nan if mean is None else mean for mean in means], dtype=np.float64)


def _budget(table: ScoreTable) -> float:
    return math.inf if table.kl_budget_nats is None else table.kl_budget_nats


def main() -> int:
    """Compute a stored selection again and compare. Exit status 1: it says something else than its own scores."""
    stored = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    found = reach_verdict(ScoreTable.model_validate(stored["table"]), in_sample=stored["in_sample"])
    pairs = {
        "verdict": (stored["verdict"], "improved" if found.claimed else "no_measurable_gain"),
        "chosen_step": (stored["chosen_step"], found.delivered),
        "gain": (stored["gain"], found.gain.mean),
        "gain_low": (stored["gain_low"], found.gain.low),
        "gain_high": (stored["gain_high"], found.gain.high),
    }
    different = [name for name, (said, again) in pairs.items() if not _same(said, again)]
    for name, (said, again) in pairs.items():
        print(f"{name}: stored {said}, computed {again}{'   DIFFERENT' if name in different else ''}")
    return int(bool(different))


def _same(said: str | float, again: str | float) -> bool:
    """Another processor may add in another order, which moves the last digits."""
    return said == again if isinstance(said, str) else math.isclose(said, float(again), rel_tol=1e-9, abs_tol=1e-9)


if __name__ == "__main__":
    sys.exit(main())
