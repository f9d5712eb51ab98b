"""An answer while it is written: every way of cutting it into tokens must show the same."""

from __future__ import annotations

import random

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from fettle_workers.engine.chat import ChatFormat
from fettle_workers.engine.token_text import TextStream, TokenBytes
from fettle_workers.serving.choice import Choice, Delta
from fettle_workers.serving.wire import add

LOGITS = torch.zeros(264)
EOS = 258


@pytest.fixture(scope="module")
def tokenizer(tokenizer_with):
    return tokenizer_with()


@pytest.fixture(scope="module")
def write(tokenizer):
    """Feeds a completion to a choice; returns the deltas and their sum."""
    chat, token_bytes = ChatFormat.of(tokenizer), TokenBytes(tokenizer)

    def run(ids: list[int], reason: str = "stop", **options) -> tuple[list[Delta], Delta]:
        choice, total, deltas = Choice(chat, token_bytes, **options), Delta(), []
        for number, token in enumerate(ids):
            delta = choice.push(token, reason if number == len(ids) - 1 else None, LOGITS)
            deltas.append(delta)
            add(total, delta)
            if choice.finish_reason:
                break
        return deltas, total

    return run


def test_a_character_is_shown_when_its_last_byte_came(tokenizer, write):
    ids = tokenizer.encode("aé€😀")
    deltas, total = write([*ids, EOS])
    assert [delta.content for delta in deltas] == ["a", "", "é", "", "", "€", "", "", "", "😀", ""]
    assert total.content == "aé€😀"


def test_a_character_cut_off_at_the_end_shows_as_unreadable(tokenizer, write):
    _, total = write(tokenizer.encode("a😀")[:-1], reason="length")
    assert (total.content, total.finish_reason) == ("a\ufffd", "length")


def test_streamed_text_is_the_decoded_text_for_any_bytes(tokenizer):
    random.seed(0)
    token_bytes = TokenBytes(tokenizer)
    for _ in range(300):
        ids = [random.randrange(264) for _ in range(random.randrange(1, 12))]
        stream = TextStream(token_bytes)
        text = "".join(map(stream.push, ids)) + stream.finish()
        assert text == tokenizer.decode(ids, skip_special_tokens=True)


def test_streamed_text_is_the_decoded_text_of_a_sentencepiece_vocabulary():
    vocab = {"<unk>": 0, "▁hi": 1, "▁you": 2, "<0xC3>": 3, "<0xA9>": 4, "!": 5}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    core.decoder = decoders.Sequence(steps)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core)
    stream, ids = TextStream(TokenBytes(tokenizer)), [1, 3, 4, 2, 5]
    assert [stream.push(token) for token in ids] == ["hi", "", "é", " you", "!"]
    assert tokenizer.decode(ids) == "hié you!"


@pytest.mark.parametrize(
    ("written", "reasoning", "text"),
    [
        ("<think>\n so 😀 is \n</think>\n\nyes é", "so 😀 is", "yes é"),
        ("plain", None, "plain"),
        ("<think>cut of", "cut of", ""),
        ('well \n<tool_call>{"name": "f", "arguments": {}}</tool_call>', None, "well"),
    ],
)
def test_each_token_is_told_which_characters_it_wrote(tokenizer, written, reasoning, text):
    """Every token of this tokenizer is one byte, so each writes one character, but the last of several bytes."""
    chat = ChatFormat.of(tokenizer)
    ids = [*tokenizer.encode(written), EOS]
    parsed = chat.parse(ids)
    assert (parsed.reasoning, parsed.text) == (reasoning, text)
    counts = chat.token_chars(ids, parsed)
    assert len(counts) == len(ids)
    assert sum(counts) == len(reasoning or "") + len(text)
    both, at = (reasoning or "") + text, 0
    for token, count in zip(ids, counts, strict=True):
        wrote, at = both[at : at + count], at + count
        assert wrote in ("", tokenizer.decode([token]), *"😀é")


def test_tokens_of_thinking_that_went_on_after_the_answer_began_are_not_told_apart(tokenizer):
    chat = ChatFormat.of(tokenizer)
    ids = tokenizer.encode("<think>a</think>b<think>c</think>")
    assert chat.token_chars(ids, chat.parse(ids)) is None


def test_thinking_and_answer_come_in_their_own_fields(tokenizer, write):
    deltas, total = write([*tokenizer.encode("<think>\n so it is \n</think>\n\nyes no"), EOS])
    assert (total.reasoning, total.content, total.finish_reason) == ("so it is", "yes no", "stop")
    assert all(not (delta.reasoning and delta.content) for delta in deltas)


def test_stop_string_is_found_across_tokens_and_not_shown(tokenizer, write):
    deltas, total = write(tokenizer.encode("one STOP two"), stops=["STOP"])
    assert (total.content, total.finish_reason) == ("one ", "stop")
    assert len(deltas) == len("one STOP")


def test_text_that_only_began_like_a_stop_string_is_shown(tokenizer, write):
    deltas, total = write([*tokenizer.encode("STO STOQ"), EOS], stops=["STOP"])
    assert total.content == "STO STOQ"
    assert [delta.content for delta in deltas][:4] == ["", "", "", "STO "]


def test_a_stop_string_begun_at_the_end_is_shown(tokenizer, write):
    assert write(tokenizer.encode("aST"), reason="length", stops=["STOP"])[1].content == "aST"


def test_the_earliest_of_several_stop_strings_wins(tokenizer, write):
    assert write(tokenizer.encode("abcd"), stops=["cd", "bc"])[1].content == "a"


def test_stop_strings_do_not_end_the_thinking(tokenizer, write):
    _, total = write([*tokenizer.encode("<think>a STOP b</think>c STOP d"), EOS], stops=["STOP"])
    assert (total.reasoning, total.content) == ("a STOP b", "c ")


def test_tool_calls_are_kept_back_and_given_whole(tokenizer, write):
    ids = [*tokenizer.encode('Sure. <tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'), EOS]
    _, total = write(ids, find_tool_calls=True)
    assert (total.content, total.finish_reason) == ("Sure. ", "tool_calls")
    assert [(call.name, call.arguments) for call in total.tool_calls] == [("f", '{"x": 1}')]
    assert write(ids)[1].content.startswith("Sure. <tool_call>")


def test_a_broken_tool_call_is_text(tokenizer, write):
    _, total = write([*tokenizer.encode("a <tool_call>{oops"), EOS], find_tool_calls=True)
    assert (total.content, total.tool_calls, total.finish_reason) == ("a <tool_call>{oops", (), "stop")


def test_logprobs_come_with_the_text_they_belong_to(tokenizer, write):
    deltas, total = write([*tokenizer.encode("<think>t</think>né"), EOS], num_top_logprobs=2)
    # Thinking, marks and end of turn have none; uniform logits over 264 tokens: log(1/264) = -5.576.
    assert [entry["bytes"] for entry in total.logprobs] == [[0x6E], [0xC3], [0xA9]]
    assert [entry["logprob"] for entry in total.logprobs] == pytest.approx([-5.576] * 3, abs=1e-3)
    assert all(len(entry["top_logprobs"]) == 2 for entry in total.logprobs)
    assert [len(delta.logprobs) for delta in deltas if delta.content] == [1, 2]


def test_logprobs_of_a_cut_off_stop_string_are_not_given(tokenizer, write):
    _, total = write(tokenizer.encode("ab STOP"), stops=["STOP"], num_top_logprobs=0)
    assert "".join(entry["token"] for entry in total.logprobs) == "ab "
