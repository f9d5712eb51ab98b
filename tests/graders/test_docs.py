"""The examples of docs/graders.md are requests with their rewards: each must give just that."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fettle_graders.spec import GRADER_TYPES

PAGE = (Path(__file__).parents[2] / "docs" / "graders.md").read_text("utf-8")
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["grader"]["type"])
def test_examples_give_their_reward(grade, example: dict[str, Any]) -> None:
    result = grade(example["grader"], example["item"], example["model_sample"])
    assert result.score == pytest.approx(example["reward"], abs=1e-12), result.message


NEEDS_MORE = {
    "majority",
    "reward_model",
    "process",
    "score_model",
    "label_model",
    "endpoint",
}  # a group, a judge, a service of the user's


def test_every_kind_that_runs_has_an_example() -> None:
    assert {example["grader"]["type"] for example in EXAMPLES} == set(GRADER_TYPES) - NEEDS_MORE
    assert all(f"`{kind}`" in PAGE for kind in GRADER_TYPES)


def test_what_the_sandbox_promises_is_shown_by_tests_that_exist() -> None:
    tests = Path(__file__).parents[1]
    named = set(re.findall(r"`(test_\w+)`", (tests.parent / "docs" / "sandbox.md").read_text("utf-8")))
    files = [path.read_text("utf-8") for path in tests.rglob("test_*.py")]
    written = {name for text in files for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}
    assert named
    assert named <= written
