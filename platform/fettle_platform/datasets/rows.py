"""The rules a row has to meet: those of every fine-tune file, and those of one training method.

Source of the row's form: the fine-tuning guide's chat rows (`messages`, `tools`, any other key is `item.<key>`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from fettle_graders.errors import GradeFailure
from fettle_graders.sample import Sample
from fettle_graders.template import parse_template, resolve
from fettle_platform.datasets.report import Findings
from fettle_platform.datasets.statistics import json_type

Method = Literal["reinforcement", "supervised"]
ROLES = ("system", "developer", "user", "assistant", "tool")
_ROLE_LIST = ", ".join(ROLES)


def check_row(row: dict[str, Any], line: int, findings: Findings) -> None:
    """The rules of every fine-tune file. A preference row (`input`, two outputs) has its messages in `input`."""
    if "messages" not in row and isinstance(row.get("input"), dict) and "preferred_output" in row:
        _check_messages(row["input"].get("messages"), "input.messages", line, findings)
        return
    _check_messages(row.get("messages", _Missing), "messages", line, findings)
    tools = row.get("tools")
    if tools is not None and not (isinstance(tools, list) and all(_is_tool(tool) for tool in tools)):
        expected = 'a list of {"type": "function", "function": {"name": ...}}'
        findings.error(line, "invalid_tools", "tools", "tools are malformed", expected=expected, found=json_type(tools))


def check_row_for(
    row: dict[str, Any], line: int, findings: Findings, *, method: Method, item_paths: Sequence[str]
) -> None:
    """The rules of one method: how the conversation ends, no images, and every field the grader reads."""
    messages = row.get("messages")
    if not (isinstance(messages, list) and messages and all(isinstance(message, dict) for message in messages)):
        if "messages" not in row and "input" in row:
            message = "this is a preference row, which this method cannot use"
            findings.error(line, "wrong_row_kind", "messages", message, expected="messages", found="input")
        return
    _check_last(messages, line, findings, method)
    _refuse_images(messages, line, findings)
    for path in item_paths:
        _check_item_path(row, path, line, findings)


class _Missing:
    """Marks a key that is not there, which null is not."""


def _check_messages(messages: Any, path: str, line: int, findings: Findings) -> None:
    expected = 'a list such as [{"role": "user", "content": "..."}]'
    if messages is _Missing:
        findings.error(line, "missing_field", path, f"the row has no {path}", expected=expected, found="nothing")
    elif not isinstance(messages, list):
        found = json_type(messages)
        findings.error(line, "wrong_type", path, f"{path} is not a list", expected=expected, found=found)
    elif not messages:
        findings.error(line, "empty_messages", path, f"{path} is empty", expected="at least one message", found="[]")
    else:
        for index, message in enumerate(messages):
            _check_message(message, f"{path}.{index}", line, findings)


def _check_message(message: Any, path: str, line: int, findings: Findings) -> None:
    if not isinstance(message, dict):
        expected = 'an object such as {"role": "user", "content": "..."}'
        found = json_type(message)
        findings.error(line, "wrong_type", path, "a message is not an object", expected=expected, found=found)
        return
    role = message.get("role")
    if role not in ROLES:
        found = repr(role) if "role" in message else "nothing"
        findings.error(line, "unknown_role", f"{path}.role", "the role is not known", expected=_ROLE_LIST, found=found)
    _check_content(message, f"{path}.content", line, findings)
    weight = message.get("weight", 1)
    if weight not in (0, 1) or isinstance(weight, bool):
        message_text = "the weight of a message is not 0 or 1"
        findings.error(line, "invalid_weight", f"{path}.weight", message_text, expected="0 or 1", found=repr(weight))


def _check_content(message: dict[str, Any], path: str, line: int, findings: Findings) -> None:
    content = message.get("content")
    if isinstance(content, str):
        return
    if isinstance(content, list) and content:
        for index, part in enumerate(content):
            _check_part(part, f"{path}.{index}", line, findings)
        return
    if content is None and message.get("role") == "assistant" and message.get("tool_calls"):
        return
    found = json_type(content) if "content" in message else "nothing"
    expected = "text, or a list of parts with at least one"
    findings.error(line, "invalid_content", path, "a message has no usable content", expected=expected, found=found)


def _check_part(part: Any, path: str, line: int, findings: Findings) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return
    if kind == "image_url" and "image_url" in part:
        return
    expected = '{"type": "text", "text": "..."}'
    found = f"a part of type {kind!r}" if isinstance(part, dict) else json_type(part)
    findings.error(line, "invalid_part", path, "a part of a message is malformed", expected=expected, found=found)


def _is_tool(tool: Any) -> bool:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def _check_last(messages: list[dict[str, Any]], line: int, findings: Findings, method: Method) -> None:
    role = messages[-1].get("role")
    path = f"messages.{len(messages) - 1}.role"
    if method == "reinforcement" and role not in ("user", "developer", "tool"):
        text = "the last message is not the user's, so there is nothing to answer"
        findings.error(line, "last_message_role", path, text, expected="user", found=repr(role))
    elif method == "supervised" and role != "assistant":
        text = "the last message is not the assistant's, so there is nothing to learn"
        findings.error(line, "last_message_role", path, text, expected="assistant", found=repr(role))


def _refuse_images(messages: list[dict[str, Any]], line: int, findings: Findings) -> None:
    for index, message in enumerate(messages):
        parts = message.get("content") if isinstance(message.get("content"), list) else []
        for part_index, part in enumerate(parts):
            if isinstance(part, dict) and part.get("type") == "image_url":
                path = f"messages.{index}.content.{part_index}"
                text = "images cannot be trained on; the models here read text"
                findings.error(line, "image_not_supported", path, text, expected="text parts only", found="image_url")


def _check_item_path(row: dict[str, Any], path: str, line: int, findings: Findings) -> None:
    """`path` as the grader library spells it: `item.answer`, `item.answers[0]`."""
    (reference,) = parse_template("{{" + path + "}}").references
    try:
        resolve(reference, row, Sample(""))
    except GradeFailure:
        field = path.removeprefix("item.")
        text = f'the row has no field "{field}"; the grader reads {path}'
        found = "fields " + ", ".join(sorted(row)[:12])
        findings.error(line, "missing_item_field", field, text, expected=f"a value at {field}", found=found)
