"""All families by name, and an endless stream of their tasks."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from fettle_workers.base_models import number_families as number
from fettle_workers.base_models import text_families as text
from fettle_workers.base_models.task import Task, is_held_out

FAMILIES: dict[str, Callable[[random.Random], Task]] = {
    "add": number.add,
    "subtract": number.subtract,
    "multiply": number.multiply,
    "sum": number.sum_list,
    "max": number.maximum,
    "units": number.units,
    "story": number.story,
    "sort": text.sort,
    "reverse": text.reverse,
    "count": text.count_letters,
    "compare": text.compare,
    "logic": text.logic,
    "dates": text.dates,
    "json": text.json_extraction,
}


def tasks(family: str, seed: int | str, *, held_out: bool) -> Iterator[Task]:
    """Distinct tasks of a family, all of them held out or none of them. Ends when the family has no more to give."""
    rng = random.Random(f"{family}/{seed}")
    seen: set[str] = set()
    misses = 0
    while misses < 10_000:
        task = FAMILIES[family](rng)
        misses += 1
        if is_held_out(task.prompt) == held_out and task.prompt not in seen:
            misses = 0
            seen.add(task.prompt)
            yield task
