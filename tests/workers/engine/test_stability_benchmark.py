"""The stability benchmark: its random-reward control."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from fettle_graders.sample import Sample

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


def test_the_control_gives_the_same_coins_in_whatever_order_completions_finish(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from stability import RandomGrader

    answers = [({"answer": str(row)}, f"text {number % 4}") for row in range(10) for number in range(40)]

    def coins(order, seed):
        grader, found = RandomGrader(seed), Counter()
        for item, text in order:
            (grade,) = grader.submit(item, [Sample(text)])()
            found[item["answer"], text, grade.score] += 1
        return found

    forwards = coins(answers, seed=0)
    assert forwards == coins(answers[::-1], seed=0)
    assert forwards != coins(answers, seed=1)
    heads = {key: count for key, count in forwards.items() if key[2] == 1.0}
    assert 160 <= sum(heads.values()) <= 240  # of 400
    assert len(heads) > 35  # of 40: equal answers to one row get different coins
