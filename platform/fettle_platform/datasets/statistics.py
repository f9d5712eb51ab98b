"""What a fine-tune file holds, counted while its rows are read."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

MAX_COLUMNS = 200
_MAX_DISTINCT = 1000
_MAX_VALUE_CHARS = 80
_MAX_SHOWN = 20
_JSON_NAMES = {str: "string", bool: "boolean", int: "number", float: "number", dict: "object", list: "array"}


def json_type(value: Any) -> str:
    return _JSON_NAMES.get(type(value), "null")


@dataclass
class Statistics:
    """`columns`: per key of a row, in how many rows it has which JSON type; the first 200 keys.

    `prompt_chars`: how many prompts have from 2^n to below 2^(n+1) characters, by n; empty ones are under -1.
    `values`: per column how often each short value occurs; a column with more than a thousand is left out.
    """

    size_bytes: int = 0
    longest_line_bytes: int = 0
    columns: dict[str, Counter[str]] = field(default_factory=dict)
    roles: Counter[str] = field(default_factory=Counter)
    num_messages: int = 0
    max_messages: int = 0
    num_prompt_chars: int = 0
    max_prompt_chars: int = 0
    num_rows_with_tools: int = 0
    num_image_parts: int = 0
    num_repeated_prompts: int = 0
    prompt_chars: Counter[int] = field(default_factory=Counter)
    values: dict[str, Counter[str] | None] = field(default_factory=dict)

    def add(self, row: dict[str, Any]) -> None:
        for name, value in row.items():
            if name in self.columns or len(self.columns) < MAX_COLUMNS:
                self.columns.setdefault(name, Counter())[json_type(value)] += 1
                self._add_value(name, value)
        self.num_rows_with_tools += bool(row.get("tools"))
        messages = row.get("messages")
        if isinstance(messages, list):
            self._add_messages([message for message in messages if isinstance(message, dict)])

    def _add_value(self, name: str, value: Any) -> None:
        seen = self.values.setdefault(name, Counter())
        if seen is None:
            return
        if isinstance(value, dict | list) or len(text := _text(value)) > _MAX_VALUE_CHARS:
            self.values[name] = None
            return
        seen[text] += 1
        if len(seen) > _MAX_DISTINCT:
            self.values[name] = None

    def _add_messages(self, messages: list[dict[str, Any]]) -> None:
        chars = 0
        for message in messages:
            role, content = message.get("role"), message.get("content")
            if isinstance(role, str) and (role in self.roles or len(self.roles) < MAX_COLUMNS):
                self.roles[role[:64]] += 1
            parts = content if isinstance(content, list) else []
            self.num_image_parts += sum(isinstance(part, dict) and part.get("type") == "image_url" for part in parts)
            chars += len(text_of(content))
        self.num_messages += len(messages)
        self.max_messages = max(self.max_messages, len(messages))
        self.num_prompt_chars += chars
        self.prompt_chars[chars.bit_length() - 1] += 1
        self.max_prompt_chars = max(self.max_prompt_chars, chars)

    def to_json(self) -> dict[str, Any]:
        plain = {name: value for name, value in vars(self).items() if isinstance(value, int)}
        return plain | {
            "columns": {name: dict(types) for name, types in self.columns.items()},
            "roles": dict(self.roles),
            "prompt_chars": [[low, count] for low, count in sorted(self.prompt_chars.items())],
            "values": {
                name: {"num_distinct": len(seen), "most_common": [list(pair) for pair in seen.most_common(_MAX_SHOWN)]}
                for name, seen in self.values.items()
                if seen is not None
            },
        }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def text_of(content: Any) -> str:
    """The text of a message's content, its parts joined."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))
