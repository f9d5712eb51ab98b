"""Every family's answer against an independent computation from the prompt's own text."""

from __future__ import annotations

import datetime
import itertools
import json
import re

import pytest

from fettle_workers.base_models.families import FAMILIES, tasks
from fettle_workers.base_models.task import is_held_out

NUM_TASKS = 150


def sample(family: str, *, held_out: bool = False) -> list:
    return list(itertools.islice(tasks(family, "test", held_out=held_out), NUM_TASKS))


def numbers(text: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", text)]


def solve_subtract(prompt: str) -> str:
    first, second = numbers(prompt)
    return str(second - first if prompt.startswith("Subtract") else first - second)


def solve_units(prompt: str) -> str:
    seconds = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "weeks": 604800}
    length = {"inches": 1, "feet": 12, "centimeters": 1, "meters": 100}
    count = {"pieces": 1, "dozen": 12, "months": 1, "years": 12}
    sizes = seconds | length | count
    amount = sum(int(n) * sizes[unit] for n, unit in re.findall(r"(\d+) (\w+)", prompt))
    target = re.search(r"How many (\w+)|to (\w+)\.", prompt)
    return str(amount // sizes[target.group(1) or target.group(2)])


def solve_story(prompt: str) -> str:
    first, more, less = numbers(prompt)
    return str(first + more - less)


def solve_list(prompt: str) -> list[str]:
    return re.findall(r"(?<![A-Za-z])[a-z0-9](?![A-Za-z0-9])", re.sub(r"^[^:]*:|^Reverse the list", "", prompt))


def solve_count(prompt: str) -> str:
    letter, word = re.search(r"(?:many|letter) (\w) (?:are )?in (\w+)", prompt).groups()
    return str(word.count(letter))


def solve_compare(prompt: str) -> str:
    return max(re.findall(r"(\w+) has (\d+)", prompt), key=lambda pair: int(pair[1]))[0]


def solve_logic(prompt: str) -> str:
    terms = re.sub(r"^.*?[:?]", "", prompt).replace("true", "True").replace("false", "False").split(",")
    return " ".join(str(eval(term.strip())).lower() for term in terms)


def solve_dates(prompt: str) -> str:
    days = int(re.search(r"(\d+) days", prompt).group(1))
    start = datetime.datetime.strptime(re.search(r"(\d+ [A-Z][a-z]+)", prompt).group(1) + " 2023", "%d %B %Y")
    end = start + datetime.timedelta(days=days)
    return f"{end.day} {end:%B}"


def solve_json(prompt: str) -> str:
    proper = [word for word in re.findall(r"[A-Z][a-z]+", prompt) if word not in ("Give", "Extract", "In", "Reply")]
    cities = {"Rome", "Oslo", "Lima", "Cairo", "Delhi", "Paris", "Quito", "Tokyo", "Accra", "Bern"}
    (city,), (name,) = [w for w in proper if w in cities], [w for w in proper if w not in cities]
    return json.dumps({"name": name, "age": numbers(prompt)[0], "city": city}, separators=(",", ":"))


SOLVERS = {
    "add": lambda prompt: str(sum(numbers(prompt))),
    "subtract": solve_subtract,
    "multiply": lambda prompt: str(numbers(prompt)[0] * numbers(prompt)[1]),
    "sum": lambda prompt: str(sum(numbers(prompt))),
    "max": lambda prompt: str(max(numbers(prompt))),
    "units": solve_units,
    "story": solve_story,
    "sort": lambda prompt: " ".join(sorted(solve_list(prompt))),
    "reverse": lambda prompt: " ".join(reversed(solve_list(prompt))),
    "count": solve_count,
    "compare": solve_compare,
    "logic": solve_logic,
    "dates": solve_dates,
    "json": solve_json,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_answer_is_right(family: str) -> None:
    for task in sample(family):
        assert task.answer == SOLVERS[family](task.prompt), task


@pytest.mark.parametrize("family", FAMILIES)
def test_careful_work_is_always_right_and_the_other_habits_often_wrong(family: str) -> None:
    made = sample(family)
    assert all(task.careful.answer == task.answer for task in made)
    assert sum(task.guess.answer == task.answer for task in made) < 0.4 * NUM_TASKS
    assert sum(task.sloppy.answer == task.answer for task in made) < 0.7 * NUM_TASKS


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_gives_the_same_tasks_and_another_seed_others(family: str) -> None:
    assert sample(family) == sample(family)
    other = list(itertools.islice(tasks(family, "other", held_out=False), NUM_TASKS))
    assert other != sample(family)


@pytest.mark.parametrize("family", FAMILIES)
def test_held_out_prompts_are_never_training_prompts(family: str) -> None:
    held_out = {task.prompt for task in sample(family, held_out=True)}
    training = {task.prompt for task in sample(family)}
    assert len(held_out) == NUM_TASKS
    assert not held_out & training
    assert all(map(is_held_out, held_out))
    assert not any(map(is_held_out, training))


def test_a_stream_ends_when_a_family_has_nothing_new(monkeypatch: pytest.MonkeyPatch) -> None:
    only = next(tasks("add", "one", held_out=False))
    monkeypatch.setitem(FAMILIES, "single", lambda rng: only)
    assert list(tasks("single", 0, held_out=False)) == [only]
