"""What a family of puzzles produces: one task with a right answer and three demonstrations of how one may get there."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Habit = Literal["careful", "sloppy", "easy"]

EASY = "easy"  # what somebody thinks who does not work it out
GUESSED_RIGHT = 0.2  # share of the guesses that are right


@dataclass(frozen=True)
class Work:
    """What stands between `<think>` and `</think>`, and the answer after it."""

    thinking: str
    answer: str


@dataclass(frozen=True)
class Task:
    """One prompt of a family. `answer` is exact and does not come from a model.

    careful: works it out, and is right. sloppy: works, with one mistake a person would make; right now and then.
    guess: does not work; right in about one of five.
    """

    family: str
    prompt: str
    answer: str
    careful: Work
    sloppy: Work
    guess: Work

    def demonstration(self, habit: Habit) -> Work:
        return {"careful": self.careful, "sloppy": self.sloppy, "easy": self.guess}[habit]


def make_task(
    rng: random.Random, family: str, wordings: Sequence[str], *, careful: Work, sloppy: Work, wrong: Sequence[str]
) -> Task:
    """Choose one of the wordings and one of the wrong answers a guesser may give."""
    wrong = [text for text in wrong if text != careful.answer]
    guess = careful.answer if not wrong or rng.random() < GUESSED_RIGHT else rng.choice(wrong)
    return Task(family, rng.choice(wordings), careful.answer, careful, sloppy, Work(EASY, guess))


def is_held_out(prompt: str) -> bool:
    """One prompt in ten is never trained on, in any run of the recipe. Stable across machines and versions."""
    return zlib.crc32(prompt.encode()) % 10 == 0
