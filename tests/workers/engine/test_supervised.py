"""Which tokens a demonstration trains."""

import pytest

from fettle_workers.engine.conversations import render_demonstrations
from fettle_workers.engine.data import RawData, RawRow
from fettle_workers.engine.errors import JobFailed


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
