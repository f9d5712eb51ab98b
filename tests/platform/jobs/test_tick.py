"""The tick loop's rounds."""

import threading

from fettle_platform.jobs import tick as module


def test_a_round_ends_between_two_parts_when_it_is_told_to_stop(monkeypatch):
    stop = threading.Event()
    monkeypatch.setattr(module, "PARTS", {"one": lambda now: 1, "two": lambda now: stop.set() or 2, "three": int})
    assert module.tick(stop=stop) == {"one": 1, "two": 2}


def test_a_part_that_fails_stops_no_other(monkeypatch):
    monkeypatch.setattr(module, "PARTS", {"one": lambda now: 1 / 0, "two": lambda now: 2})
    assert module.tick() == {"one": None, "two": 2}
