"""What a chat completion may ask for, and what of it reaches the model server."""

import json

import pytest

from fettle_platform.core.errors import InvalidRequest
from fettle_platform.inference.requests import parse_chat_request

BASE = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def parse(**fields):
    return parse_chat_request(json.dumps({key: v for key, v in (BASE | fields).items() if v is not ...}).encode())


def sent(**fields):
    return json.loads(parse(**fields).upstream_body("up"))


def test_only_what_was_given_is_sent_on():
    assert sent() == {"model": "up", "messages": [{"role": "user", "content": "hi"}]}


def test_every_field_with_a_meaning_is_sent_on():
    fields = {
        "max_completion_tokens": 5,
        "temperature": 0,
        "top_p": 0.5,
        "n": 2,
        "stop": ["a", "b"],
        "seed": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
        "logprobs": True,
        "top_logprobs": 3,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "o", "schema": {"a": None}, "strict": True}},
        "reasoning_effort": "low",
        "frequency_penalty": -2,
        "presence_penalty": 2,
        "logit_bias": {"5": -100},
    }
    assert sent(**fields) == {"model": "up", "messages": BASE["messages"], **fields}


def test_fields_without_a_meaning_here_are_taken_and_dropped():
    ignored = {"user": "u", "store": True, "metadata": {"a": "b"}, "service_tier": "auto", "verbosity": "low"}
    assert sent(**ignored) == sent()
    assert sent(modalities=["text"]) == sent()


def test_one_stop_text_is_a_list_of_one():
    assert sent(stop="a")["stop"] == ["a"]


def test_a_tool_call_without_content_keeps_its_null():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    assert sent(messages=messages)["messages"] == messages


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"model": ...}, "missing_required_parameter", "model"),
        ({"messages": ...}, "missing_required_parameter", "messages"),
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "invalid_value", "messages.0.role"),
        ({"messages": [{"role": "user", "content": 5}]}, None, None),
        ({"temperature": 2.1}, "invalid_value", "temperature"),
        ({"temperature": "1"}, "invalid_type", "temperature"),
        ({"top_p": 0}, "invalid_value", "top_p"),
        ({"n": 0}, "invalid_value", "n"),
        ({"n": 17}, "invalid_value", "n"),
        ({"n": 16384}, "invalid_value", "n"),
        ({"max_tokens": 0}, "invalid_value", "max_tokens"),
        ({"stop": ["a"] * 5}, "invalid_value", "stop"),
        ({"top_logprobs": 21, "logprobs": True}, "invalid_value", "top_logprobs"),
        ({"top_logprobs": 2}, "invalid_value", "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "invalid_value", "stream_options"),
        ({"frequency_penalty": 3}, "invalid_value", "frequency_penalty"),
        ({"logit_bias": {"5": 101}}, "invalid_value", None),
        ({"audio": {"voice": "x"}}, "unsupported_parameter", "audio"),
        ({"modalities": ["text", "audio"]}, "unsupported_parameter", "modalities"),
        ({"web_search_options": {}}, "unsupported_parameter", "web_search_options"),
        ({"guided_regex": "(a+)+$"}, "unknown_parameter", "guided_regex"),
        ({"extra_body": {}}, "unknown_parameter", "extra_body"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields, code, param):
    with pytest.raises(InvalidRequest) as caught:
        parse(**fields)
    if code:
        assert caught.value.code == code
    if param:
        assert caught.value.param == param


def test_media_addresses_never_pass():
    part = {"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}
    with pytest.raises(InvalidRequest) as caught:
        parse(messages=[{"role": "user", "content": [{"type": "text", "text": "a"}, part]}])
    assert caught.value.param == "messages.0.content.1.type"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"a": NaN}', b"\xff", b'{"model": "a", "model": "b"}'])
def test_a_body_that_is_no_object_is_refused(raw):
    with pytest.raises(InvalidRequest):
        parse_chat_request(raw)
