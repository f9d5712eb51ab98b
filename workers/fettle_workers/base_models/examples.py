"""Write the example datasets and graders: `python -m fettle_workers.base_models.examples --out examples`.

Each folder has `train.jsonl`, `validation.jsonl` (prompts that the base model never saw), `few.jsonl` (the first rows
of the training file) and `grader.json`. Nothing in them is random from run to run.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

from fettle_workers.base_models.families import tasks
from fettle_workers.base_models.task import Task

TRAIN_ROWS, VALIDATION_ROWS, FEW_ROWS = 96, 100, 8

EXACT: dict[str, Any] = {
    "type": "string_check",
    "name": "exact",
    "operation": "eq",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
}
# Most of the reward for the right list, a little for one that is nearly right.
MOSTLY_EXACT: dict[str, Any] = {
    "type": "multi",
    "name": "mostly_exact",
    "graders": {
        "exact": EXACT,
        "close": {
            "type": "text_similarity",
            "name": "close",
            "evaluation_metric": "fuzzy_match",
            "input": "{{sample.output_text}}",
            "reference": "{{item.answer}}",
        },
    },
    "calculate_output": "0.8 * exact + 0.2 * close",
}

DEMO = "max"  # rises fastest and most reliably; see docs/base-model.md
# folder -> (family, grader)
EXAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "demo": (DEMO, EXACT),
    "sum": ("sum", EXACT),
    "add": ("add", EXACT),
    "sort": ("sort", MOSTLY_EXACT),
    "dates": ("dates", EXACT),
    "logic": ("logic", EXACT),
    "json": ("json", EXACT),
}


def row(task: Task) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": task.prompt}], "answer": task.answer, "family": task.family}


def rows(family: str, count: int, *, held_out: bool) -> list[dict[str, Any]]:
    """The first `count` rows of a family; held-out rows share no prompt with the others, by construction."""
    return [row(task) for task in itertools.islice(tasks(family, "examples", held_out=held_out), count)]


def write_jsonl(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")


def write_examples(out: Path) -> None:
    for folder, (family, grader) in EXAMPLES.items():
        target = out / folder
        target.mkdir(parents=True, exist_ok=True)
        train = rows(family, TRAIN_ROWS, held_out=False)
        write_jsonl(target / "train.jsonl", train)
        write_jsonl(target / "few.jsonl", train[:FEW_ROWS])
        write_jsonl(target / "validation.jsonl", rows(family, VALIDATION_ROWS, held_out=True))
        (target / "grader.json").write_text(json.dumps(grader, indent=2) + "\n", "utf-8")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder that receives one folder per example")
    write_examples(parser.parse_args(argv).out)


if __name__ == "__main__":
    main()
