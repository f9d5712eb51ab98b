import pytest

from fettle_workers.engine.signs import garbled_share, repeated_share


def test_repeated_4_grams_are_counted_by_completion():
    assert repeated_share([1, 2, 3, 4, 5]) == 0
    assert repeated_share([7] * 9) == pytest.approx(5 / 6)  # six 4-grams, one of them new
    assert repeated_share([1, 2, 3, 4]) is None


def test_broken_utf_8_and_control_characters_are_no_text():
    assert garbled_share("plain\ntext, écrit 日本") == 0
    assert garbled_share("ab\ufffd\x07") == 0.5
    assert garbled_share("") == 0
