"""Families about numbers: add, subtract, multiply, sum, max, units, story."""

from __future__ import annotations

import random
from collections.abc import Sequence

from fettle_workers.base_models.task import Task, Work, make_task


def near_misses(value: int, *steps: int) -> list[str]:
    """What a guesser says instead of `value`: off by one of `steps` to either side, never below zero."""
    return [str(value + sign * step) for step in steps for sign in (-1, 1) if value + sign * step >= 0]


def add_columns(a: int, b: int, *, with_carry: bool = True) -> Work:
    """Column addition from the right, `a + b + carry = s` a column. Without the carry it is a beginner's mistake."""
    steps, digits, carry = [], "", 0
    while True:
        total = a % 10 + b % 10 + carry
        steps.append(f"{a % 10}+{b % 10}+{carry}={total}")
        a, b = a // 10, b // 10
        if not (a or b):
            return Work(";".join(steps), f"{total}{digits}")
        digits = f"{total % 10}{digits}"
        carry = total // 10 if with_carry else 0


def add(rng: random.Random) -> Task:
    a, b = rng.randint(11, 999), rng.randint(11, 999)
    return make_task(
        rng,
        "add",
        [f"What is {a} + {b}?", f"Add {a} and {b}.", f"{a} + {b} = ?"],
        careful=add_columns(a, b),
        sloppy=add_columns(a, b, with_carry=False),
        wrong=near_misses(a + b, 1, 10, 100),
    )


def subtract_columns(a: int, b: int, *, with_borrow: bool = True) -> Work:
    """Column subtraction from the right for `a >= b`; a column that needs it starts from ten more."""
    steps, digits, borrow = [], "", 0
    while a or b:
        top, bottom = a % 10, b % 10 + borrow
        borrow = int(top < bottom)
        top += 10 * borrow
        steps.append(f"{top}-{bottom}={top - bottom}")
        digits = f"{top - bottom}{digits}"
        borrow = borrow if with_borrow else 0
        a, b = a // 10, b // 10
    return Work(";".join(steps), str(int(digits or "0")))


def subtract(rng: random.Random) -> Task:
    a, b = rng.randint(20, 999), rng.randint(11, 999)
    a, b = max(a, b), min(a, b)
    return make_task(
        rng,
        "subtract",
        [f"What is {a} - {b}?", f"Subtract {b} from {a}.", f"{a} - {b} = ?"],
        careful=subtract_columns(a, b),
        sloppy=subtract_columns(a, b, with_borrow=False),
        wrong=near_misses(a - b, 1, 10, 100),
    )


def multiply(rng: random.Random) -> Task:
    a, b = rng.randint(2, 9), rng.randint(11, 99)
    tens, ones = b // 10 * 10, b % 10
    return make_task(
        rng,
        "multiply",
        [f"What is {a} * {b}?", f"Multiply {b} by {a}.", f"{a} * {b} = ?"],
        careful=Work(f"{a}*{tens}={a * tens};{a}*{ones}={a * ones}", str(a * b)),
        sloppy=Work(f"{a}*{tens // 10}={a * tens // 10};{a}*{ones}={a * ones}", str(a * tens // 10 + a * ones)),
        wrong=near_misses(a * b, 1, 10, a),
    )


def running(values: Sequence[int], start: int = 0) -> Work:
    """Running totals of `values`."""
    totals = []
    for value in values:
        start += value
        totals.append(str(start))
    return Work(";".join(totals), str(start))


def sum_list(rng: random.Random) -> Task:
    values = [rng.randint(1, 9) for _ in range(rng.randint(4, 7))]
    text = ", ".join(map(str, values))
    skipped = rng.randrange(1, len(values))
    return make_task(
        rng,
        "sum",
        [f"Add up: {text}", f"What is the sum of {text}?", f"Sum the list [{text}]."],
        careful=running(values),
        sloppy=running(values[:skipped] + values[skipped + 1 :]),
        wrong=near_misses(sum(values), 1, 2, 10),
    )


def largest_so_far(values: Sequence[int]) -> Work:
    best = [str(max(values[: count + 1])) for count in range(len(values))]
    return Work(";".join(best), best[-1])


def maximum(rng: random.Random) -> Task:
    values = rng.sample(range(10, 100), rng.randint(4, 6))
    text = ", ".join(map(str, values))
    return make_task(
        rng,
        "max",
        [f"Which is the largest: {text}?", f"Find the maximum of {text}.", f"Largest number in [{text}]?"],
        careful=largest_so_far(values),
        sloppy=largest_so_far(values[: len(values) // 2]),
        wrong=[str(value) for value in values],
    )


# (large unit, small unit, how many small ones make a large one, largest count of small ones)
UNITS = (
    ("hours", "minutes", 60, 59),
    ("minutes", "seconds", 60, 59),
    ("weeks", "days", 7, 6),
    ("feet", "inches", 12, 11),
    ("days", "hours", 24, 23),
    ("meters", "centimeters", 100, 99),
    ("dozen", "pieces", 12, 11),
    ("years", "months", 12, 11),
)


def units(rng: random.Random) -> Task:
    large, small, factor, most = rng.choice(UNITS)
    count, rest = rng.randint(2, 9), rng.randint(1, most)
    forgetful = 10 if factor != 100 else 60
    right, wrong = count * factor, count * forgetful
    return make_task(
        rng,
        "units",
        [
            f"How many {small} are {count} {large} and {rest} {small}?",
            f"Convert {count} {large} {rest} {small} to {small}.",
        ],
        careful=Work(f"{count}*{factor}={right};{right}+{rest}", str(right + rest)),
        sloppy=Work(f"{count}*{forgetful}={wrong};{wrong}+{rest}", str(wrong + rest)),
        wrong=[*near_misses(right + rest, 1, factor), str(right)],
    )


THINGS = ("apples", "books", "coins", "cards", "eggs", "shells", "pens", "stamps")
PEOPLE = ("Anna", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hugo", "Iris", "Jon", "Kim", "Leo", "Mia", "Nils")


def story(rng: random.Random) -> Task:
    name, thing = rng.choice(PEOPLE), rng.choice(THINGS)
    first, more, less = rng.randint(11, 60), rng.randint(2, 9), rng.randint(2, 9)
    between, left = first + more, first + more - less
    return make_task(
        rng,
        "story",
        [
            f"{name} has {first} {thing}, gets {more} and loses {less}. How many {thing} are left?",
            f"{name} had {first} {thing}, bought {more}, then gave away {less}. How many {thing} now?",
        ],
        careful=Work(f"{first}+{more}={between};{between}-{less}={left}", str(left)),
        sloppy=Work(f"{first}+{more}={between}", str(between)),
        wrong=[*near_misses(left, 1, 10), str(between), str(first - less)],
    )
