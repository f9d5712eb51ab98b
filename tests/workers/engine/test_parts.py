"""Graders inside a multi grader: brought to one spread when they are added up, held against the reward when not."""

import numpy as np
import pytest

from fettle_graders.grade import Grade, GradeErrors
from fettle_graders.spec import parse_grader
from fettle_workers.engine.parts import grader_weights, watched_graders
from fettle_workers.engine.train import train, train_step

PART = {"type": "string_check", "name": "p", "operation": "eq", "input": "{{sample.output_text}}", "reference": "a"}


def multi(formula, *names):
    return {"type": "multi", "name": "both", "graders": dict.fromkeys(names, PART), "calculate_output": formula}


class Parts:
    """A grader's runner that gives the scores of several parts, and their sum over `used` as the reward."""

    needs_group = False

    def __init__(self, used, **parts):
        self._used, self._parts = used, parts

    def submit(self, item, samples):
        grades = [self._grade(sample.output_text) for sample in samples]
        return lambda: grades

    def _grade(self, text):
        scores = {name: part(text) for name, part in self._parts.items()}
        score = sum(scores[name] for name in self._used)
        return Grade(score, GradeErrors(), sub_scores=scores, sub_errors=dict.fromkeys(scores, GradeErrors()))


def letters(text):
    return sum("a" <= char <= "z" for char in text) / max(1, len(text))


def capitals(text):
    return 100.0 * sum("A" <= char <= "Z" for char in text) / max(1, len(text))


def test_only_a_sum_of_graders_has_weights():
    assert grader_weights(parse_grader(multi("0.8 * a + b / 2", "a", "b"))) == {"a": 0.8, "b": 0.5}
    assert grader_weights(parse_grader(multi("a * b", "a", "b"))) is None
    assert grader_weights(parse_grader(multi("2 * a", "a", "b"))) is None
    assert grader_weights(parse_grader(PART)) is None


def test_a_grader_that_the_formula_does_not_read_is_watched():
    assert watched_graders(parse_grader(multi("2 * a", "a", "b", "c"))) == ["b", "c"]
    assert watched_graders(parse_grader(PART)) == []


def pushes(rewards_GK):
    """Centred on the group and divided by the pooled deviation, as in a first step."""
    centred = rewards_GK - rewards_GK.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean())


def test_the_grader_of_the_widest_range_does_not_decide_alone(make_job):
    parts = {"letters": letters, "capitals": capitals}
    job, source, _ = make_job(
        grader=multi("letters + capitals", *parts), graders=Parts(parts, **parts), group_size=8, max_completion_tokens=8
    )
    assert job.plan.grader_weights == {"letters": 1.0, "capitals": 1.0}
    report = train_step(job, source)
    texts = [[rollout.parsed.text for rollout in group] for group in report.drawn.groups]
    small, large = (np.array([[part(text) for text in group] for group in texts]) for part in (letters, capitals))
    assert report.advantages.informative_G.all()
    expected = pushes(pushes(small) + pushes(large))
    assert report.advantages.values_GK == pytest.approx(expected)
    alone = pushes(small + large)  # what the wide one makes of it: the other has next to no say
    assert np.corrcoef(alone.ravel(), small.ravel())[0, 1] < 0.3
    assert np.corrcoef(expected.ravel(), small.ravel())[0, 1] > 0.4
    raw = small + large
    assert job.progress.reward_scale == pytest.approx((raw - raw.mean(1, keepdims=True)).std())
    assert set(job.progress.grader_scales) == set(parts)


@pytest.mark.parametrize(("witness", "delivered"), [(lambda text: -letters(text), False), (letters, True)])
def test_a_candidate_that_a_watched_grader_speaks_against_is_not_delivered(make_job, witness, delivered):
    parts = {"letters": letters, "witness": witness}
    job, source, events = make_job(
        grader=multi("letters", *parts),
        graders=Parts(["letters"], **parts),
        max_steps=4,
        eval_interval=4,
        group_size=16,
        early_stopping=False,
    )
    selection = train(job, source).selection
    assert (selection.chosen_step > 0) == delivered
    flagged = [one for one in events.of("message") if one.code == "suspected_reward_hacking"]
    assert bool(flagged) != delivered
    if not delivered:
        assert "while witness, which is no part of it, fell by" in flagged[0].message
        assert all(entry.illness for entry in job.progress.table[1:])
