"""Runs that go wrong, through the real loop: what the supervisor does about each, and what it says."""

import math
from dataclasses import replace

import pytest
import torch

from fettle_workers.engine.errors import JobFailed
from fettle_workers.engine.train import train

ALWAYS = {"type": "string_check", "name": "always", "operation": "ne", "input": "x", "reference": "y"}


def acts(events, code=None):
    """(code, step) of every message that has a code."""
    return [(one.code, one.step) for one in events.of("message") if one.code and code in (None, one.code)]


def spoil_updates(job, steps, spoil):
    """Have `spoil` work on the adapter right after the updates of some steps."""
    real = job.learner.update

    def update(**arguments):
        real(**arguments)
        if job.progress.step in steps:
            job.policy.set_adapter_tensors({name: spoil(t) for name, t in job.policy.adapter_tensors().items()})

    job.learner.update = update


def spoil_gradients(job, steps, value):
    real = job.learner.accumulate

    def accumulate(*arguments, **options):
        found = real(*arguments, **options)
        if job.progress.step not in steps:
            return found
        for parameter in job.policy.parameters().values():
            if parameter.grad is not None:
                parameter.grad.fill_(value)
        return type(found)(found.loss, found.num_tokens, value, found.sums)

    job.learner.accumulate = accumulate


def test_a_gradient_that_is_not_finite_is_skipped_and_the_third_goes_back(make_job, letters):
    job, source, events = make_job(graders=letters, max_steps=12, eval_interval=2, early_stopping=False)
    spoil_gradients(job, {3, 5, 7}, math.nan)
    train(job, source)
    found = acts(events, "update_skipped")
    assert found == [("update_skipped", 3), ("update_skipped", 5), ("update_skipped", 7)]
    last = [one for one in events.of("message") if one.code == "update_skipped"][-1]
    assert "goes back to the adapter of step" in last.message
    assert job.progress.health.lr_scale == 0.5
    assert [one.metrics.grad_norm for one in events.of("step")][2] is None
    rates = [one.metrics.lr for one in events.of("step")]
    assert rates[7] < rates[6]
    assert all(torch.isfinite(tensor).all() for tensor in job.policy.adapter_tensors().values())


def test_weights_that_are_not_finite_never_reach_a_candidate(make_job, letters):
    job, source, events = make_job(graders=letters, max_steps=6, eval_interval=2, early_stopping=False)
    spoil_updates(job, {3}, lambda tensor: tensor * math.nan)
    train(job, source)
    # The exact KL of such a step is no number, so it is taken back whole.
    assert ("step_shortened", 3) in acts(events)
    assert all(math.isfinite(one.evaluation.kl_nats) for one in events.of("evaluation"))
    assert all(torch.isfinite(tensor).all() for tensor in job.policy.adapter_tensors().values())


def test_an_exploding_learning_rate_is_held_and_what_is_delivered_is_not_worse(make_job, letters):
    job, source, events = make_job(
        graders=letters, learning_rate_multiplier=1000, max_steps=12, eval_interval=2, early_stopping=False,
    )  # fmt: skip
    selection = train(job, source).selection
    assert acts(events, "step_shortened")
    assert all(one.metrics.kl_nats < 12 * 0.5 for one in events.of("step"))
    assert selection.chosen_mean >= selection.base_mean


def test_gibberish_with_falling_reward_goes_back_to_the_best_candidate(make_job, monkeypatch, letters):
    job, source, events = make_job(
        graders=letters, max_steps=45, eval_interval=20, early_stopping=False, group_size=8, temperature=0.4,
        learning_rate_multiplier=0.3,
    )  # fmt: skip
    loud = torch.Generator().manual_seed(1)
    real = source.sampler.sample

    def sample(*arguments):
        """Between steps 25 and 26 something breaks the weights."""
        if job.progress.step == 25 and not job.progress.go_back_to:
            tensors = job.policy.adapter_tensors()
            job.policy.set_adapter_tensors({k: t + torch.randn(t.shape, generator=loud) for k, t in tensors.items()})
        return real(*arguments)

    monkeypatch.setattr(source.sampler, "sample", sample)
    train(job, source)
    rewards = {one.metrics.step: one.metrics.train_reward_mean for one in events.of("step")}
    assert rewards[25] > 0.9
    assert rewards[26] < 0.3
    (went_back,) = (one for one in events.of("message") if "goes back to the adapter" in one.message)
    assert went_back.code == "gibberish"
    assert "goes back to the adapter of step 20" in went_back.message
    assert 26 < went_back.step < 38
    assert went_back.values["shortfall"] > 0.75
    assert went_back.values["entropy_nats"] > 1.5 * went_back.values["start"]
    assert rewards[went_back.step + 1] > 0.9
    assert job.progress.health.lr_scale == 0.5


def test_a_grader_that_accepts_everything_ends_the_job_and_says_so(make_job):
    job, source, events = make_job(grader=ALWAYS)
    with pytest.raises(
        JobFailed, match=r"all 1\).*already solves every row, or the grader accepts everything"
    ) as ended:
        train(job, source)
    assert ended.value.code == "no_learning_signal"
    assert not any(one.metrics.grad_norm for one in events.of("step"))


def test_why_training_ends_is_said_when_it_ends(make_job):
    job, source, events = make_job(max_steps=2)
    train(job, source)
    assert acts(events, "training_ended") == [("training_ended", 2)]
    assert "all steps are done" in events.of("message")[-1].message


def test_every_number_of_a_message_is_finite_and_every_message_is_about_its_step(make_job, letters):
    job, source, events = make_job(graders=letters, max_steps=6, eval_interval=2)
    spoil_gradients(job, {2}, math.inf)
    train(job, source)
    told = [one for one in events.of("message") if one.code]
    assert all(math.isfinite(value) for one in told for value in one.values.values())
    assert all(one.step is not None and 0 < one.step <= 6 for one in told)


class Estranged:
    """A sampler that from a step on tells other logprobs than the policy's, until it is told to read it anew."""

    def __init__(self, real, job, *, step, reload_helps):
        self._real, self._job, self._step, self._reload_helps = real, job, step, reload_helps
        self.num_reloads = 0

    def sample(self, requests, params):
        off = self._job.progress.step >= self._step and not (self.num_reloads and self._reload_helps)
        for one in self._real.sample(requests, params):
            yield replace(one, logprobs=tuple(value - off for value in one.logprobs))

    def reload(self):
        self.num_reloads += 1


def estranged(make_job, letters, *, reload_helps):
    job, source, events = make_job(graders=letters, max_steps=5, eval_interval=2, early_stopping=False)
    sampler = Estranged(source.sampler, job, step=2, reload_helps=reload_helps)
    return job, replace(source, sampler=sampler), events, sampler


def test_a_sampler_that_left_the_policy_is_reloaded_and_training_goes_on_from_the_best(make_job, letters):
    job, source, events, sampler = estranged(make_job, letters, reload_helps=True)
    train(job, source)
    assert acts(events, "sampler_mismatch") == [("sampler_mismatch", 3)]
    (alarm,) = (one for one in events.of("message") if one.code == "sampler_mismatch")
    assert alarm.values["mismatch_kl"] == pytest.approx(math.e - 2, rel=0.05)  # k3 of a difference of 1 nat
    assert "goes back to the adapter of step" in alarm.message
    assert acts(events, "sampler_reloaded") == [("sampler_reloaded", 3)]
    assert sampler.num_reloads == 1
    assert job.progress.step == 5
    assert job.progress.health.lr_scale == 0.25  # halved for the masked tokens, and by the return


def test_a_sampler_that_stays_away_from_the_policy_ends_the_job(make_job, letters):
    job, source, events, sampler = estranged(make_job, letters, reload_helps=False)
    with pytest.raises(JobFailed, match=r"does not draw from the policy .* after it read the adapter anew.*k3 0\.7"):
        train(job, source)
    assert acts(events, "sampler_mismatch") == [("sampler_mismatch", 3)]
    assert (sampler.num_reloads, job.progress.step) == (1, 3)
