"""Families about lists, words and facts: sort, reverse, count, compare, logic, dates, json."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

from fettle_workers.base_models.number_families import PEOPLE
from fettle_workers.base_models.task import Task, Work, make_task


def insertions(values: Sequence[int], *, misplace_last: bool = False) -> Work:
    """Insertion sort, the sorted part after each item. The mistake is to put the last item at the end."""
    states: list[list[int]] = [[]]
    for value in values:
        states.append(sorted([*states[-1], value]))
    if misplace_last:
        states[-1] = [*states[-2], values[-1]]
    return Work(";".join("".join(map(str, state)) for state in states[1:]), " ".join(map(str, states[-1])))


def swapped(items: Sequence[str], separator: str) -> list[str]:
    """Every list that has two neighbours of `items` the wrong way round, joined."""
    swaps = [[*items[:i], items[i + 1], items[i], *items[i + 2 :]] for i in range(len(items) - 1)]
    return [separator.join(swap) for swap in swaps]


def sort(rng: random.Random) -> Task:
    values = rng.sample(range(10), rng.randint(4, 6))
    text = " ".join(map(str, values))
    return make_task(
        rng,
        "sort",
        [f"Sort: {text}", f"Put in ascending order: {text}", f"Order from small to large: {text}"],
        careful=insertions(values),
        sloppy=insertions(values, misplace_last=True),
        wrong=swapped([str(value) for value in sorted(values)], " "),
    )


def numbered(items: Sequence[str]) -> Work:
    return Work("".join(f"{place}{item}" for place, item in enumerate(items, 1)), " ".join(reversed(items)))


def reverse(rng: random.Random) -> Task:
    items = rng.sample("abcdefghijklmnopqrstuvwxyz", rng.randint(4, 6))
    place = rng.randrange(len(items) - 1)
    mixed_up = [*items[:place], items[place + 1], items[place], *items[place + 2 :]]
    text = " ".join(items)
    return make_task(
        rng,
        "reverse",
        [f"Reverse: {text}", f"Say backwards: {text}", f"Reverse the list {text}"],
        careful=numbered(items),
        sloppy=numbered(mixed_up),
        wrong=swapped(items[::-1], " "),
    )


def spelled(word: str, letter: str, *, missed: int = 0) -> Work:
    """Spell the word with a running count of the letter; the first `missed` hits are overlooked."""
    count, steps = -missed, []
    for character in word:
        count += character == letter
        steps.append(f"{character}{max(count, 0)}")
    return Work("".join(steps), str(max(count, 0)))


def count_letters(rng: random.Random) -> Task:
    alphabet = rng.sample("abdeilmnoprst", 3)
    word = "".join(rng.choice(alphabet) for _ in range(rng.randint(5, 8)))
    letter = rng.choice(word)
    return make_task(
        rng,
        "count",
        [f"How many {letter} are in {word}?", f"Count the letter {letter} in {word}."],
        careful=spelled(word, letter),
        sloppy=spelled(word, letter, missed=1),
        wrong=near_misses_of_count(word.count(letter)),
    )


def near_misses_of_count(count: int) -> list[str]:
    return [str(other) for other in range(max(1, count - 2), count + 3)]


def leader_so_far(scores: Sequence[tuple[str, int]]) -> Work:
    steps, best = [], scores[0]
    for entry in scores:
        best = max(best, entry, key=lambda pair: pair[1])
        steps.append(f"{best[0]} {best[1]}")
    return Work(";".join(steps), best[0])


def compare(rng: random.Random) -> Task:
    names = rng.sample(PEOPLE, rng.randint(3, 5))
    scores = list(zip(names, rng.sample(range(10, 100), len(names)), strict=True))
    text = ", ".join(f"{name} has {score}" for name, score in scores)
    return make_task(
        rng,
        "compare",
        [f"{text}. Who has the most?", f"Who has most points? {text}."],
        careful=leader_so_far(scores),
        sloppy=leader_so_far(scores[:2]),
        wrong=names,
    )


def boolean(value: bool) -> str:
    return "true" if value else "false"


def evaluated(terms: Sequence[tuple[bool, str, bool, bool]], *, ignore_not: bool = False) -> Work:
    """Evaluate terms `(left, operator, right, right is negated)`. The mistake is to overlook every `not`."""
    steps, results = [], []
    for left, operator, right, negated in terms:
        seen = right if ignore_not else right != negated
        value = (left and seen) if operator == "and" else (left or seen)
        steps.append(f"{boolean(left)} {operator} {boolean(seen)}={boolean(value)}")
        results.append(boolean(value))
    return Work(";".join(steps), " ".join(results))


def logic(rng: random.Random) -> Task:
    terms = [
        (rng.random() < 0.5, rng.choice(("and", "or")), rng.random() < 0.5, rng.random() < 0.6)
        for _ in range(rng.randint(2, 4))
    ]
    text = ", ".join(f"{boolean(a)} {operator} {'not ' * negated}{boolean(b)}" for a, operator, b, negated in terms)
    careful = evaluated(terms)
    words = careful.answer.split()
    flips = [[*words[:i], boolean(words[i] == "false"), *words[i + 1 :]] for i in range(len(words))]
    return make_task(
        rng,
        "logic",
        [f"Evaluate: {text}", f"True or false? {text}"],
        careful=careful,
        sloppy=evaluated(terms, ignore_not=True),
        wrong=[" ".join(flip) for flip in flips],
    )


MONTHS = (
    ("January", 31), ("February", 28), ("March", 31), ("April", 30), ("May", 31), ("June", 30), ("July", 31),
    ("August", 31), ("September", 30), ("October", 31), ("November", 30), ("December", 31),
)  # fmt: skip


def days_later(day: int, month: int, days: int, *, length: int) -> Work:
    """The date `days` after `day`, when the month (0 is January) has `length` days."""
    name, total = MONTHS[month][0], day + days
    if total <= length:
        return Work(f"{day}+{days}={total};{name} {length}", f"{total} {name}")
    following = MONTHS[(month + 1) % 12][0]
    rest = total - length
    return Work(f"{day}+{days}={total};{name} {length};{total}-{length}={rest}", f"{rest} {following}")


def dates(rng: random.Random) -> Task:
    month, days = rng.randrange(12), rng.randint(2, 20)
    name, length = MONTHS[month]
    day = rng.randint(max(1, length - days - 4), length)
    careful = days_later(day, month, days, length=length)
    number, answer_month = careful.answer.split()
    return make_task(
        rng,
        "dates",
        [f"Which date is {days} days after {day} {name}?", f"Today is {day} {name}. Which date is in {days} days?"],
        careful=careful,
        sloppy=days_later(day, month, days, length=30 if length == 31 else 31),
        wrong=[f"{wrong} {answer_month}" for wrong in (int(number) + 1, int(number) + 2, max(1, int(number) - 1))],
    )


CITIES = ("Rome", "Oslo", "Lima", "Cairo", "Delhi", "Paris", "Quito", "Tokyo", "Accra", "Bern")


def as_json(name: str, age: int | str, city: str) -> str:
    return json.dumps({"name": name, "age": age, "city": city}, separators=(",", ":"))


def json_extraction(rng: random.Random) -> Task:
    name, age, city = rng.choice(PEOPLE), rng.randint(11, 99), rng.choice(CITIES)
    thinking = f"name {name};age {age};city {city}"
    return make_task(
        rng,
        "json",
        [
            f"{name} from {city} is {age} years old. Give name, age and city as JSON.",
            f"Extract name, age and city as JSON: In {city} lives {name}, aged {age}.",
            f"{name} is {age} and lives in {city}. Reply in JSON with name, age, city.",
        ],
        careful=Work(thinking, as_json(name, age, city)),
        sloppy=Work(f"name {name};age {age}", json.dumps({"name": name, "age": age}, separators=(",", ":"))),
        wrong=[as_json(name, str(age), city), as_json(city, age, name), f"{name}, {age}, {city}"],
    )
