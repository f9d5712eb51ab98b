"""The committed tokenizer: any text survives, digits stay apart, the chat template renders every role."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from fettle_workers.base_models.evaluate import BUNDLED
from fettle_workers.base_models.lessons import render
from fettle_workers.base_models.tokenizer import SPECIAL, TAGS, build_tokenizer

TOKENIZER = AutoTokenizer.from_pretrained(BUNDLED)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerBase:
    return TOKENIZER


@settings(deadline=None, max_examples=300)
@given(st.text())
def test_any_text_survives_encoding(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False)) == text


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from([*TAGS, " ", "7", "true", "\n", "é", "<", "think>"])))
def test_text_around_the_tags_survives_encoding(parts: list[str]) -> None:
    text = "".join(parts)
    assert TOKENIZER.decode(TOKENIZER.encode(text), skip_special_tokens=True) == text


def test_the_recipe_builds_the_committed_tokenizer() -> None:
    assert build_tokenizer().backend_tokenizer.get_vocab() == TOKENIZER.get_vocab()
    text = "Which date is 19 days after 22 July? é"
    assert build_tokenizer().encode(text) == TOKENIZER.encode(text)


def test_every_digit_is_a_token_of_its_own(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.tokenize("20384") == ["2", "0", "3", "8", "4"]


def test_tags_are_single_tokens_that_are_kept_and_special_tokens_are_dropped(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    for tag in TAGS:
        (token,) = tokenizer.encode(tag)
        assert tokenizer.decode([token], skip_special_tokens=True) == tag
    for text in SPECIAL:
        (token,) = tokenizer.encode(text)
        assert tokenizer.decode([token], skip_special_tokens=True) == ""


def test_the_template_renders_as_in_training(tokenizer: PreTrainedTokenizerBase) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is 1 + 2?"},
        {"role": "assistant", "content": "3"},
        {"role": "user", "content": "And 3 + 4?"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == render(messages)
    assert text.endswith("<|im_start|>user\nAnd 3 + 4?<|im_end|>\n<|im_start|>assistant\n")


def test_the_template_takes_every_role_tools_and_content_parts(tokenizer: PreTrainedTokenizerBase) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Use "}, {"type": "text", "text": "tools."}]},
        {"role": "user", "content": "1 + 1"},
        {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
        {"role": "tool", "tool_call_id": "c2", "content": "3"},
        {"role": "assistant", "content": "2"},
    ]
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False)
    system, user, call_turn, results, answer, end = text.split("<|im_end|>\n")
    assert system.startswith("<|im_start|>system\nUse tools.\n\n# Tools\n<tools>\n{")
    assert '"name": "add"' in system
    assert user == "<|im_start|>user\n1 + 1"
    assert call_turn == (
        '<|im_start|>assistant\n<think>hm</think><tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    )
    assert results == ("<|im_start|>user\n<tool_response>2</tool_response><tool_response>3</tool_response>")
    assert answer == "<|im_start|>assistant\n2"
    assert end == ""
