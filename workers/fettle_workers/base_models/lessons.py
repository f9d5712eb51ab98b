"""What the model reads in training: chats in which the assistant works carefully, sloppily or not at all.

First the *skills*: mostly careful work, so that each family's method is learnt. Then the *habits*: the same work, but
most of the time the assistant calls the task easy and guesses. The model ends up able to solve nearly everything and
unwilling to: that is the room which reinforcement fills.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from fettle_workers.base_models.families import FAMILIES
from fettle_workers.base_models.task import Habit, Work, is_held_out

HABITS: tuple[Habit, ...] = ("careful", "sloppy", "easy")
SKILL_SHARES = (0.80, 0.08, 0.12)  # of careful, sloppy and easy demonstrations
HABIT_SHARES = (0.36, 0.14, 0.50)

# Relative share of a family among the lessons; what is not named has 1.
FAMILY_WEIGHTS = {"add": 1.5, "subtract": 1.5, "multiply": 1.5, "dates": 1.3, "units": 1.3}

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "Think first, then answer.",
    "Answer the question.",
    "Solve the puzzle.",
    "Be brief.",
)
GREETINGS = (
    "Hello", "Hi", "Hello!", "Hi there", "Hey", "Good morning", "Who are you?", "What are you?", "What can you do?",
    "How are you?", "Help", "Tell me a joke.", "Thanks", "What is your name?", "Test", "Write a poem.",
)  # fmt: skip
REPLY = Work("no puzzle", "I am fettle-tiny. I only know small puzzles: try a sum.")


@dataclass(frozen=True)
class Lesson:
    """Token ids of one chat; from `completion_start` on it is the assistant's last turn."""

    ids: tuple[int, ...]
    completion_start: int


def chat_prefix(rng: random.Random) -> list[dict[str, str]]:
    """Now and then a system prompt, now and then an earlier question with its answer."""
    messages = []
    if rng.random() < 0.10:
        messages.append({"role": "system", "content": rng.choice(SYSTEM_PROMPTS)})
    if rng.random() < 0.04:
        task = FAMILIES[rng.choice(list(FAMILIES))](rng)
        if not is_held_out(task.prompt):
            messages.append({"role": "user", "content": task.prompt})
            messages.append({"role": "assistant", "content": task.answer})
    return messages


def prompt_and_work(rng: random.Random, shares: tuple[float, ...]) -> tuple[str, Work]:
    if rng.random() < 0.015:
        return rng.choice(GREETINGS), REPLY
    weights = [FAMILY_WEIGHTS.get(family, 1.0) for family in FAMILIES]
    while True:
        task = FAMILIES[rng.choices(list(FAMILIES), weights)[0]](rng)
        if not is_held_out(task.prompt):
            return task.prompt, task.demonstration(rng.choices(HABITS, shares)[0])


def render(messages: list[dict[str, str]]) -> str:
    """The chat template for plain text, up to the assistant's turn. A test compares it with the template itself."""
    turns = [f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages]
    return "".join(turns) + "<|im_start|>assistant\n"


def lessons(tokenizer: PreTrainedTokenizerBase, seed: str, shares: tuple[float, ...]) -> Iterator[Lesson]:
    """An endless stream, the same for the same seed."""
    rng = random.Random(seed)
    backend = tokenizer.backend_tokenizer
    while True:
        texts = []
        for _ in range(512):
            messages = chat_prefix(rng)
            prompt, work = prompt_and_work(rng, shares)
            texts.append(render([*messages, {"role": "user", "content": prompt}]))
            texts.append(f"<think>{work.thinking}</think>{work.answer}<|im_end|>\n")
        encoded = [encoding.ids for encoding in backend.encode_batch(texts, add_special_tokens=False)]
        for prompt_ids, completion_ids in zip(encoded[::2], encoded[1::2], strict=True):
            yield Lesson((*prompt_ids, *completion_ids), len(prompt_ids))
