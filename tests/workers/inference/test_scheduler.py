from __future__ import annotations

import threading

import pytest

from fettle_workers.engine.sampler import Row, SamplingParams
from fettle_workers.engine.token_text import TokenBytes
from fettle_workers.serving.choice import Choice, Delta
from fettle_workers.serving.errors import Overloaded
from fettle_workers.serving.scheduler import Job, Part, Scheduler


class Listener:
    def __init__(self, num_parts: int) -> None:
        self.deltas: list[tuple[int, Delta]] = []
        self.error: Exception | None = None
        self.done = threading.Event()
        self.begun = threading.Event()
        self._num_open = num_parts

    def on_deltas(self, deltas: list[tuple[int, Delta]]) -> None:
        self.deltas += deltas
        self.begun.set()
        self._num_open -= sum(delta.finish_reason is not None for _, delta in deltas)
        if not self._num_open:
            self.done.set()

    def on_error(self, error: Exception) -> None:
        self.error = error
        self.done.set()


@pytest.fixture
def policy(policy_of):
    return policy_of("mamba")  # without a longest context


def make_job(policy, *, n=1, num_tokens=8, edit=None) -> tuple[Job, Listener]:
    params = SamplingParams(num_tokens, stop_ids=frozenset())
    token_bytes = TokenBytes(policy.tokenizer)
    parts = [Part(i, Row((65, 66), i, params, edit), Choice(policy.chat, token_bytes)) for i in range(n)]
    listener = Listener(n)
    return Job(policy, parts, listener.on_deltas, listener.on_error), listener


@pytest.fixture
def scheduler():
    running = Scheduler(num_slots=4, max_waiting=6)
    running.start()
    yield running
    running.stop()


def test_more_rows_than_slots_finish_one_after_another(scheduler, policy):
    job, listener = make_job(policy, n=6)
    scheduler.submit(job)
    assert listener.done.wait(20)
    assert [len(part.choice.ids) for part in job.parts] == [8] * 6


def test_full_queue_refuses_and_serves_on_afterwards(scheduler, policy):
    endless, begun = make_job(policy, n=4, num_tokens=10**7)
    scheduler.submit(endless)
    assert begun.begun.wait(20)
    waiting, listener = make_job(policy, n=5)
    scheduler.submit(waiting)
    with pytest.raises(Overloaded, match="5 completions are already waiting"):
        scheduler.submit(make_job(policy, n=2)[0])
    assert scheduler.load == {"running": 4, "waiting": 5}
    other, other_listener = make_job(policy)
    scheduler.submit(other)
    scheduler.cancel(waiting)
    scheduler.cancel(endless)
    assert other_listener.done.wait(20)
    assert not listener.deltas, "cancelled while it waited"


def test_what_fails_in_one_model_does_not_reach_another(scheduler, policy, policy_of):
    def explode(logits):
        raise ArithmeticError("boom")

    other, other_listener = make_job(policy_of("qwen3"), num_tokens=50)
    failing, listener = make_job(policy, edit=explode)
    scheduler.submit(other)
    scheduler.submit(failing)
    assert listener.done.wait(20)
    assert isinstance(listener.error, ArithmeticError)
    assert other_listener.done.wait(20)
    assert other_listener.error is None
    again, listener = make_job(policy)
    scheduler.submit(again)
    assert listener.done.wait(20)
    assert listener.error is None


def test_what_cannot_be_admitted_fails_alone(scheduler, policy):
    job, listener = make_job(policy)
    job.parts[0].row.prompt_ids = ()
    no_model, no_model_listener = make_job(policy)
    no_model.policy = None
    scheduler.submit(job)
    scheduler.submit(no_model)
    assert listener.done.wait(20)
    assert no_model_listener.done.wait(20)
    assert "no tokens" in str(listener.error)
    assert no_model_listener.error is not None
    again, listener = make_job(policy)
    scheduler.submit(again)
    assert listener.done.wait(20)
    assert listener.error is None


def test_cancelled_before_it_ran_it_never_runs(policy):
    idle = Scheduler()
    job, listener = make_job(policy)
    idle.submit(job)
    idle.cancel(job)
    idle.start()
    other, other_listener = make_job(policy)
    idle.submit(other)
    assert other_listener.done.wait(20)
    idle.stop()
    assert not listener.deltas
