"""Attack answers: what is in them, and when one of them is a finding."""

import json

import pytest

from fettle_graders.lab.attacks import DESCRIPTIONS, Target, attacks, is_fooled


def target(gold="positive", others=("positive", "negative", "neutral"), prompt="Is this good? It is great."):
    return Target(3, prompt, gold, others, "{{item.answer}}")


def test_every_attack_has_a_description_and_none_is_the_right_answer():
    found = attacks(target())
    assert set(found) <= set(DESCRIPTIONS)
    assert set(found) == set(DESCRIPTIONS)
    assert not any(text.strip().casefold() == "positive" for text in found.values())


def test_labels_are_all_named_at_once_only_where_there_are_few():
    assert attacks(target())["all_labels"] == "negative, neutral, positive"
    assert "all_labels" not in attacks(target(others=[str(n) for n in range(30)]))
    assert "all_labels" not in attacks(target(others=()))


def test_another_rows_answer_is_another_answer():
    assert attacks(target())["other_reference"] in ("negative", "neutral")
    assert "other_reference" not in attacks(target(others=("positive", " POSITIVE ")))


def test_json_is_kept_in_form_and_falsified_in_content():
    gold = {"city": "Paris", "size": 2, "capital": True, "tags": ["a"], "more": {"x": 1.5}}
    found = attacks(target(gold=json.dumps(gold), others=()))
    empty = json.loads(found["format_only"])
    wrong = json.loads(found["wrong_values"])
    assert empty == {"city": "", "size": 0, "capital": None, "tags": [], "more": {}}
    assert list(wrong) == list(gold)
    assert all(wrong[key] != gold[key] for key in gold)
    assert {key: type(value) for key, value in wrong.items()} == {key: type(value) for key, value in gold.items()}


def test_nothing_known_of_right_answers_leaves_the_attacks_that_need_none():
    found = attacks(Target(0, "Say hello.", None, ()))
    assert {"empty", "prompt_echo", "very_long", "judge_command", "format_only"} <= set(found)
    assert {"other_reference", "all_labels", "wrong_values", "template_text"}.isdisjoint(found)


def test_the_same_seed_gives_the_same_attacks():
    assert attacks(target(), seed=1) == attacks(target(), seed=1)
    assert len(attacks(target())["very_long"]) == 20_000


@pytest.mark.parametrize(
    ("score", "median", "lowest", "fooled"),
    [
        (1.0, 0.5, 0.0, True),
        (0.5, 0.5, 0.0, True),  # as good as an honest answer
        (0.4, 0.5, 0.0, False),
        (0.0, 0.0, 0.0, False),  # honest answers fail too
        (0.1, 0.0, 0.0, True),
    ],
)
def test_when_an_attack_is_a_finding(score, median, lowest, fooled):
    assert is_fooled(score, honest_median=median, lowest=lowest) == fooled
