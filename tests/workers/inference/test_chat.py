from __future__ import annotations

import pytest

from fettle_workers.engine.chat import ChatError, ChatFormat, ToolCall, split_tool_calls

OPEN, CLOSE, EOS = 259, 260, 258
TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]"
USER = {"role": "user", "content": "hi"}


@pytest.fixture(scope="module")
def chat(tokenizer_with):
    return ChatFormat.of(tokenizer_with())


@pytest.fixture(scope="module")
def ids(tokenizer_with):
    """Encodes text; the tags in it become their single ids."""
    return tokenizer_with().encode


def with_template(tokenizer_with, ending="{% endif %}", body=TEMPLATE):
    return ChatFormat.of(tokenizer_with(body + ending))


def text_of(chat, messages, **options):
    return chat.tokenizer.decode(chat.render(messages, **options), skip_special_tokens=False)


def test_marks_are_single_ids_and_eos_is_found(chat):
    assert (chat.think_open_id, chat.think_close_id, chat.eos_ids) == (OPEN, CLOSE, {EOS})


def test_thinking_and_answer_are_parted(chat, ids):
    completion = [*ids("<think>\nfirst this\n</think>\n\nforty two"), EOS]
    parsed = chat.parse(completion)
    assert (parsed.reasoning, parsed.text, parsed.closed) == ("first this", "forty two", True)
    # 2 marks and the 12 bytes of "\nfirst this\n".
    assert parsed.num_reasoning_tokens == 14


def test_without_thinking_the_text_is_verbatim(chat, ids):
    parsed = chat.parse([*ids("  as it is \n"), EOS])
    assert (parsed.text, parsed.reasoning, parsed.num_reasoning_tokens, parsed.closed) == (
        "  as it is \n",
        None,
        0,
        True,
    )


def test_cut_off_thinking_has_no_answer(chat, ids):
    parsed = chat.parse(ids("<think>and then"))
    assert (parsed.text, parsed.reasoning, parsed.closed) == ("", "and then", False)


def test_marks_spelled_out_as_text_part_nothing(chat):
    letters = [token for char in "</think>x" for token in chat.tokenizer.encode(char)]
    parsed = chat.parse(letters)
    assert (parsed.text, parsed.reasoning) == ("</think>x", None)


def test_template_that_opens_the_thinking_starts_inside_it(tokenizer_with, ids):
    chat = with_template(tokenizer_with, "<think>\n{% endif %}")
    assert chat.starts_thinking
    parsed = chat.parse(ids("why</think>\n\nthus"))
    assert (parsed.reasoning, parsed.text) == ("why", "thus")
    assert not chat.parse(ids("why")).closed


def test_template_that_closes_empty_thinking_starts_outside_it(tokenizer_with, ids):
    chat = with_template(tokenizer_with, "<think>\n\n</think>\n\n{% endif %}")
    assert not chat.starts_thinking
    assert chat.parse(ids("thus")).text == "thus"


def test_a_prompt_that_mentions_the_mark_does_not_start_thinking(chat, ids):
    chat.render([{"role": "user", "content": "what does <think> do?"}])
    assert chat.parse(ids("it opens")).text == "it opens"


def test_special_tokens_say_nothing_and_broken_bytes_are_shown(chat):
    assert chat.parse([257, *chat.tokenizer.encode("é")[:1], EOS]).text == "\ufffd"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'Sure.\n<tool_call>\n{"name": "f", "arguments": {"x": "é"}}\n</tool_call>',
            ("Sure.", (ToolCall("f", '{"x": "é"}'),)),
        ),
        (
            '<tool_call>{"name": "f"}</tool_call><tool_call>{"name": "g", "arguments": {}}</tool_call>',
            ("", (ToolCall("f", "{}"), ToolCall("g", "{}"))),
        ),
        ("no call", ("no call", ())),
        ("<tool_call>{broken}</tool_call>", ("<tool_call>{broken}</tool_call>", ())),
        ('<tool_call>{"name": 1}</tool_call>', ('<tool_call>{"name": 1}</tool_call>', ())),
        ('<tool_call>{"name": "f", "arguments": []}', ('<tool_call>{"name": "f", "arguments": []}', ())),
    ],
)
def test_tool_calls_are_cut_out_or_left_as_text(text, expected):
    assert split_tool_calls(text) == expected


def test_tool_calls_are_found_after_thinking_and_only_on_request(chat, ids):
    completion = ids('<think>t</think>\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>')
    assert chat.parse(completion).tool_calls == (ToolCall("f", "{}"),)
    assert chat.parse(completion, find_tool_calls=False).text.startswith("<tool_call>")


def test_render_opens_the_assistants_turn(chat):
    assert text_of(chat, [USER]) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_text_parts_are_joined(chat):
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert "one\ntwo<|im_end|>" in text_of(chat, [{"role": "user", "content": parts}])


def test_tools_reach_the_template(chat):
    tools = [{"type": "function", "function": {"name": "weather"}}]
    assert '"weather"' in text_of(chat, [USER], tools=tools)


def test_developer_is_system_where_the_template_knows_no_developer(chat, tokenizer_with):
    developer = {"role": "developer", "content": "be brief"}
    assert "<|im_start|>system\nbe brief" in text_of(chat, [developer, USER])
    knows = with_template(tokenizer_with, "{% endif %}{# developer #}")
    assert text_of(knows, [developer, USER]).startswith("[developer]be brief")


def test_system_is_put_before_the_user_where_the_template_knows_none(tokenizer_with):
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    chat = with_template(tokenizer_with, body=refusing + TEMPLATE)
    assert text_of(chat, [{"role": "system", "content": "be brief"}, USER]) == "[user]be brief\n\nhi[assistant]"
    with pytest.raises(ChatError, match="followed by a user message"):
        chat.render([{"role": "system", "content": "alone"}])


def test_past_tool_calls_reach_the_template_as_objects(tokenizer_with):
    body = (
        "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.arguments.x }}{% endfor %}{% endfor %}"
    )
    chat = ChatFormat.of(tokenizer_with(body))
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": 7}'}}
    assert text_of(chat, [USER, {"role": "assistant", "content": None, "tool_calls": [call]}]) == "7"
    broken = {**call, "function": {"name": "f", "arguments": "{"}}
    with pytest.raises(ChatError, match="arguments of 'f' are not JSON"):
        chat.render([USER, {"role": "assistant", "tool_calls": [broken]}])


@pytest.mark.parametrize(
    ("messages", "param", "message"),
    [
        ([{"role": "king", "content": "x"}], "messages[0].role", "expected one of system"),
        ([USER, {"role": "user", "content": [{"type": "image_url"}]}], "messages[1].content[0]", "'image_url'"),
        ([{"role": "user", "content": 3}], "messages[0].content", "is a int"),
        ([], "messages", "empty"),
    ],
)
def test_errors_name_the_field(chat, messages, param, message):
    with pytest.raises(ChatError, match=message) as error:
        chat.render(messages)
    assert error.value.param == param


def test_what_the_template_refuses_is_said_in_its_words(tokenizer_with):
    strict = (
        "{% if messages[-1].role != 'user' %}{{ raise_exception('the last message must be from a user') }}{% endif %}"
    )
    chat = with_template(tokenizer_with, body=strict + TEMPLATE)
    with pytest.raises(ChatError, match="the last message must be from a user"):
        chat.render([{"role": "assistant", "content": "x"}])


def test_model_without_template_cannot_chat(tokenizer_with):
    with pytest.raises(ChatError, match="no chat template"):
        ChatFormat.of(tokenizer_with(None)).render([USER])
