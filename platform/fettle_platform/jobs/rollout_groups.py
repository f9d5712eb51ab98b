"""Stored rollouts in groups: how each prompt did, how it did at each step, and how rewards are spread."""

from __future__ import annotations

from typing import Any

from fettle_platform.jobs.models import Job
from fettle_platform.jobs.rollouts import RolloutQuery, matching_files, matching_table, open_parquet

NUM_BINS = 20
_COLUMNS = ("purpose", "source", "step", "row", "reward", "num_tokens", "finish_reason")


def rollout_groups(job: Job, query: RolloutQuery, *, by: str) -> dict[str, Any]:
    """What `query` selects, by prompt (`row`) or by `step`. Means are of graded rollouts; None where none is.

    `first_mean` and `last_mean` are those of the group's first and last step.

    Raises:
        NotFound: a file of the index is gone from the store.
    """
    # Imported here as in `rollouts`: only these pages read Parquet.
    import pyarrow as pa

    parts = []
    for file in matching_files(job, query):
        with open_parquet(file) as parquet:
            parts.append(matching_table(parquet, query, _COLUMNS))
    table = pa.concat_tables(parts, promote_options="default") if parts else None
    keys = ("purpose", "source", "row") if by == "row" else ("purpose", "step")
    return {
        "object": "fettle.rollout_groups",
        "by": by,
        "num_rollouts": table.num_rows if table else 0,
        "groups": _groups(table, keys) if table else [],
        "histogram": _histogram(table) if table else None,
    }


def _groups(table: Any, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    present = tuple(key for key in keys if key in table.schema.names)
    steps: dict[tuple[Any, ...], dict[int, list[Any]]] = {}
    columns = [table.column(name).to_pylist() for name in (*present, "step", "reward")]
    for *key, step, reward in zip(*columns, strict=True):
        steps.setdefault(tuple(key), {}).setdefault(step, []).append(reward)
    groups = []
    for key, by_step in steps.items():
        rewards = [reward for part in by_step.values() for reward in part]
        graded = [reward for reward in rewards if reward is not None]
        mean = _mean(graded)
        first, last = min(by_step), max(by_step)
        groups.append(
            dict.fromkeys(keys)
            | dict(zip(present, key, strict=True))
            | {
                "num_rollouts": len(rewards),
                "num_graded": len(graded),
                "mean": mean,
                "std": None if mean is None else (sum((r - mean) ** 2 for r in graded) / len(graded)) ** 0.5,
                "best": max(graded, default=None),
                "num_steps": len(by_step),
                "first_step": first,
                "last_step": last,
                "first_mean": _mean(by_step[first]),
                "last_mean": _mean(by_step[last]),
            }
        )
    return sorted(groups, key=lambda group: (group["purpose"], group.get("source") or "", group[keys[-1]]))


def _mean(rewards: list[float | None]) -> float | None:
    graded = [reward for reward in rewards if reward is not None]
    return sum(graded) / len(graded) if graded else None


def _histogram(table: Any) -> dict[str, Any] | None:
    """Equal bins over what occurs, at least 0 to 1; the last holds its upper edge too."""
    rewards = [reward for reward in table.column("reward").to_pylist() if reward is not None]
    if not rewards:
        return None
    low, high = min(0.0, *rewards), max(1.0, *rewards)
    counts = [0] * NUM_BINS
    for reward in rewards:
        counts[min(NUM_BINS - 1, int((reward - low) / (high - low) * NUM_BINS))] += 1
    edges = [low + (high - low) * edge / NUM_BINS for edge in range(NUM_BINS + 1)]
    return {"edges": edges, "counts": counts, "num_ungraded": table.num_rows - len(rewards)}
