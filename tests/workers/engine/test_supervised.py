"""Which tokens a demonstration trains, and how a supervised run goes."""

import json
import math

import pytest
import torch

from fettle_workers.adapters.checkpoints import LocalCheckpoints
from fettle_workers.contract.events import ScoreTable
from fettle_workers.contract.spec import SupervisedHyperparameters, SupervisedMethod, TrainSpec
from fettle_workers.engine.conversations import render_demonstrations
from fettle_workers.engine.data import RawData, RawRow, load_rows
from fettle_workers.engine.errors import JobFailed
from fettle_workers.engine.sampler import TorchSampler
from fettle_workers.engine.supervised import start_supervised, train_supervised
from fettle_workers.engine.verdict import reach_verdict


def rendered(make_policy, *messages, context_size=128):
    chat = make_policy().chat
    row = RawRow("training_file", 0, {"messages": list(messages)})
    raw = RawData((row,), (row,), in_sample=True)
    return chat, render_demonstrations(raw, chat, context_size=context_size).train[0].sequences


def trained_text(chat, sequence):
    return chat.tokenizer.decode([token for token, used in zip(sequence.ids, sequence.in_loss, strict=True) if used])


USER = {"role": "user", "content": "hi"}


def said(text, **more):
    return {"role": "assistant", "content": text, **more}


def test_only_what_the_assistant_says_is_trained_and_its_end_of_turn(make_policy):
    chat, (sequence,) = rendered(make_policy, USER, said("yes"))
    assert trained_text(chat, sequence) == "yes<|im_end|>"


def test_turns_share_a_sequence_and_weight_0_trains_nothing(make_policy):
    chat, (sequence,) = rendered(make_policy, USER, said("one", weight=0), USER, said("two", weight=1))
    assert trained_text(chat, sequence) == "two<|im_end|>"
    assert "one" in chat.tokenizer.decode(sequence.ids)


def test_every_turn_without_a_weight_is_trained(make_policy):
    chat, (sequence,) = rendered(make_policy, USER, said("one"), USER, said("two"))
    assert trained_text(chat, sequence) == "one<|im_end|>two<|im_end|>"


def test_the_prompt_is_what_sampling_would_see(make_policy):
    chat, (sequence,) = rendered(make_policy, USER, said("yes"))
    prompt = chat.render([USER])
    assert list(sequence.ids[: len(prompt)]) == prompt
    assert not any(sequence.in_loss[: len(prompt)])


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        ([USER], "the last message is of role 'user'"),
        ([USER, said("x", weight=0)], "nothing to learn"),
        ([USER, said("x" * 200)], "the model's context is 128"),
    ],
)
def test_rows_that_cannot_train_are_named(make_policy, messages, found):
    with pytest.raises(JobFailed, match=r"training_file row 0 \(line 1\)") as refused:
        rendered(make_policy, *messages)
    assert found in refused.value.message


class Said:
    def __init__(self):
        self.events = []

    def emit(self, event):
        self.events.append(event)


class NoWish:
    def poll(self):
        return None


def run(tmp_path, make_policy, write_rows, *, spoil=None):
    """Ten steps on rows that all say "aaaa". `spoil` works on the job before it starts."""
    rows = [{"messages": [{"role": "user", "content": f"q{n}"}, said("aaaa")]} for n in range(14)]
    spec = TrainSpec(
        job_id="job", base_model="random", seed=3,
        method=SupervisedMethod(hyperparameters=SupervisedHyperparameters(max_steps=10, eval_interval=5)),
        training_file=write_rows(tmp_path, rows[:8]), validation_file=write_rows(tmp_path, rows[8:]),
    )  # fmt: skip
    policy, events = make_policy(seed=spec.seed), Said()
    job, data = start_supervised(
        spec, load_rows(spec, tmp_path / "inputs"), policy=policy, checkpoints=LocalCheckpoints(tmp_path),
        events=events, control=NoWish(), resume_from=None,
    )  # fmt: skip
    if spoil:
        spoil(job)
    finished = train_supervised(job, data, TorchSampler(policy))
    return job, finished, [event for event in events.events if event.type == "message" and event.code]


def test_demonstrations_are_learned_and_the_verdict_follows_from_its_scores(tmp_path, make_policy, write_rows):
    _, finished, told = run(tmp_path, make_policy, write_rows)
    selection = finished.selection
    assert (selection.verdict, selection.table.method) == ("improved", "corrected")
    assert selection.gain > 0.5  # nats per row
    again = reach_verdict(ScoreTable(**json.loads(selection.table.model_dump_json())), in_sample=False)
    assert (again.delivered, again.gain.mean) == (selection.chosen_step, selection.gain)
    assert [event.code for event in told] == ["training_ended"]


def test_gradients_that_are_not_finite_send_a_supervised_run_back_as_well(tmp_path, make_policy, write_rows):
    def spoil(job):
        real = job.learner.accumulate

        def accumulate(*arguments, **options):
            found = real(*arguments, **options)
            bad = job.progress.step + 1 in (6, 7, 8)
            return type(found)(math.nan if bad else found.loss, found.num_tokens, found.norm, found.sums)

        job.learner.accumulate = accumulate

    job, _, told = run(tmp_path, make_policy, write_rows, spoil=spoil)
    assert [(event.code, event.step) for event in told][:3] == [("update_skipped", n) for n in (6, 7, 8)]
    assert "goes back to the adapter of step 5" in told[2].message
    assert (job.progress.health.lr_scale, job.progress.warm_from, job.learner.num_updates) == (0.5, 8, 2)
    assert all(torch.isfinite(tensor).all() for tensor in job.policy.adapter_tensors().values())
