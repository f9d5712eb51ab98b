"""Sampling and grading at once: what is finished is graded while the rest is sampled, and nothing else changes."""

from __future__ import annotations

import json
import threading
from itertools import count
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from fettle_graders.errors import GradeFailure
from fettle_graders.grade import Grade, GradeErrors
from fettle_graders.services import Services
from fettle_graders.spec import parse_grader
from fettle_workers.adapters.graders import InProcessGraderRunner
from fettle_workers.engine import rollout as module
from fettle_workers.engine.chat import Parsed
from fettle_workers.engine.rollout import Group, collect
from fettle_workers.engine.sampler import Completion, SamplingParams
from fettle_workers.engine.train import train

ENDPOINT = parse_grader({"type": "endpoint", "url": "https://grader.example/"})
DEADLINE_S = 10


class Chat:
    """The text of a completion is its first id."""

    def parse(self, ids):
        return Parsed(str(ids[0]), None, 0, (), closed=True)


class Sampler:
    """Finishes completions in a given order of (request, sample), each of the one id 10 * request + sample."""

    def __init__(self, order, *, before=lambda number: None):
        self.order, self.before = order, before

    def sample(self, requests, params):
        for number, (request, sample) in enumerate(self.order):
            self.before(number)
            yield Completion(request, sample, (10 * request + sample,), (0.0,), "stop")


def two_by_two(sampler, graders):
    groups = [Group(SimpleNamespace(item={}, prompt_ids=(1,)), (1, 2)) for _ in range(2)]
    return collect(
        groups,
        sampler=sampler,
        graders=graders,
        chat=Chat(),
        params=SamplingParams(1),
        purpose="train",
        step=1,
        policy_step=0,
        epoch=0.0,
    )


class Service:
    """A user's grader on the network: the score is the text's number. It answers when it is allowed to."""

    def __init__(self, *, fails=()):
        self.fails, self.may_answer, self.asked = fails, threading.Event(), threading.Semaphore(0)

    def post(self, url, headers, body):
        self.asked.release()
        assert self.may_answer.wait(DEADLINE_S)
        text = json.loads(body)["sample"]["output_text"]
        if text in self.fails:
            raise GradeFailure("other_error", "it broke")
        return json.dumps({"score": float(text)}).encode()


def test_what_is_finished_is_graded_while_the_rest_is_sampled():
    service = Service(fails={"10"})

    def before(number):
        if number == 3:  # the last is sampled once the grader is at work on the other three, and has answered none
            assert all(service.asked.acquire(timeout=DEADLINE_S) for _ in range(3))
            service.may_answer.set()

    with InProcessGraderRunner(ENDPOINT, Services(http=service)) as graders:
        collected = two_by_two(Sampler([(1, 1), (0, 0), (1, 0), (0, 1)], before=before), graders)
    assert [[rollout.completion.ids for rollout in group] for group in collected.groups] == [
        [(0,), (1,)], [(10,), (11,)],
    ]  # fmt: skip
    assert [[rollout.reward for rollout in group] for group in collected.groups] == [[0, 1], [None, 11]]


class Runner:
    """Grades with the number of the call. `submitted` are the texts of each call."""

    def __init__(self, *, needs_group, submits=lambda: None, waits=lambda: None):
        self.needs_group, self.submits, self.waits, self.submitted = needs_group, submits, waits, []

    def submit(self, item, samples):
        self.submits()
        self.submitted.append([sample.output_text for sample in samples])
        call = len(self.submitted)

        def grades():
            self.waits()
            return [Grade(float(call), GradeErrors()) for _ in samples]

        return grades


def test_a_grader_of_groups_gets_each_when_it_is_whole():
    runner = Runner(needs_group=True)
    seen = []
    order = [(1, 1), (0, 0), (1, 0), (0, 1)]
    collected = two_by_two(Sampler(order, before=lambda number: seen.append(list(runner.submitted))), runner)
    assert seen == [[], [], [], [["10", "11"]]]
    assert runner.submitted == [["10", "11"], ["0", "1"]]
    assert [[rollout.reward for rollout in group] for group in collected.groups] == [[2, 2], [1, 1]]


def test_grading_takes_the_time_in_which_nothing_is_sampled(monkeypatch):
    clock = SimpleNamespace(now=0.0)

    def takes(seconds):
        def passes(*_):
            clock.now += seconds

        return passes

    waits = map(takes, [5.0, 0.0, 2.0, 0.0])  # the grades of the second and the fourth were there already
    runner = Runner(needs_group=False, submits=takes(0.25), waits=lambda: next(waits)())
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    collected = two_by_two(Sampler([(0, 0), (0, 1), (1, 0), (1, 1)], before=takes(10.0)), runner)
    assert (collected.sampling_s, collected.grading_s) == (4 * 10.0, 4 * 0.25 + 7.0)


@pytest.mark.parametrize("spec", [
    {"type": "string_check", "input": "{{sample.output_text}}", "reference": "1", "operation": "eq"},
    {"type": "regex", "pattern": "1"},
], ids=lambda spec: spec["type"])  # fmt: skip
def test_what_only_computes_is_graded_in_the_callers_thread(spec):
    """A thread of its own would take turns with the sampler's at the interpreter's lock."""
    with InProcessGraderRunner(parse_grader(spec)) as graders:
        two_by_two(Sampler([(0, 0), (0, 1), (1, 0), (1, 1)]), graders)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("grade")]


class Letters:
    """Share of lower-case letters; every answer waits for the next question, so that they come back in any order."""

    def __init__(self):
        self.number, self.next_asked = count(), threading.Event()

    def post(self, url, headers, body):
        if next(self.number) % 2:
            self.next_asked.set()
        else:
            self.next_asked.wait(0.005)
            self.next_asked.clear()
        text = json.loads(body)["sample"]["output_text"]
        return json.dumps({"score": sum("a" <= char <= "z" for char in text) / max(1, len(text))}).encode()


def test_training_is_the_same_whenever_the_grades_come(make_job, letters, tmp_path):
    """The same rewards from a function of this process and from a service: the same rollouts and the same adapters."""
    told = {}
    for name, graders in (("here", letters), ("there", InProcessGraderRunner(ENDPOINT, Services(http=Letters())))):
        job, source, events = make_job(graders=graders, work=tmp_path / name, max_steps=2, eval_samples=1)
        train(job, source)
        adapters = [event.manifest.adapter_digest for event in events.of("checkpoint")]
        tables = [
            pq.read_table(path)
            .select(["purpose", "step", "row", "sample_index", "ids", "reward", "advantage"])
            .to_pylist()
            for path in sorted((tmp_path / name).rglob("rollouts.parquet"))
        ]
        told[name] = adapters, tables
    graders.close()
    assert told["here"] == told["there"]
    assert len(told["here"][0]) >= 2
