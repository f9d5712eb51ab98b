"""The committed example datasets and graders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fettle_graders.spec import parse_grader
from fettle_workers.base_models.examples import EXAMPLES, FEW_ROWS, TRAIN_ROWS, VALIDATION_ROWS, write_examples

COMMITTED = Path(__file__).parents[3] / "examples"
FILES = ("train.jsonl", "validation.jsonl", "few.jsonl", "grader.json")


def load(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_the_command_reproduces_the_committed_files_byte_for_byte(tmp_path: Path) -> None:
    write_examples(tmp_path)
    for folder in EXAMPLES:
        for name in FILES:
            assert (tmp_path / folder / name).read_bytes() == (COMMITTED / folder / name).read_bytes(), (folder, name)


@pytest.mark.parametrize("folder", EXAMPLES)
def test_training_and_validation_prompts_are_disjoint(folder: str) -> None:
    train, validation = load(COMMITTED / folder / "train.jsonl"), load(COMMITTED / folder / "validation.jsonl")
    assert (len(train), len(validation)) == (TRAIN_ROWS, VALIDATION_ROWS)
    prompts = [row["messages"][0]["content"] for row in train + validation]
    assert len(set(prompts)) == TRAIN_ROWS + VALIDATION_ROWS
    assert load(COMMITTED / folder / "few.jsonl") == train[:FEW_ROWS]


@pytest.mark.parametrize("folder", EXAMPLES)
def test_the_grader_is_a_valid_definition(folder: str) -> None:
    assert parse_grader(json.loads((COMMITTED / folder / "grader.json").read_text())).name


def test_there_are_examples_of_at_least_five_families() -> None:
    assert len({family for family, _ in EXAMPLES.values()}) >= 5
