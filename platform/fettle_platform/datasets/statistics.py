"""What a fine-tune file holds, counted while its rows are read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

MAX_COLUMNS = 200
_JSON_NAMES = {str: "string", bool: "boolean", int: "number", float: "number", dict: "object", list: "array"}


def json_type(value: Any) -> str:
    return _JSON_NAMES.get(type(value), "null")


@dataclass
class Statistics:
    """`columns`: per key of a row, in how many rows it has which JSON type; the first 200 keys."""

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

    def add(self, row: dict[str, Any]) -> None:
        for name, value in row.items():
            if name in self.columns or len(self.columns) < MAX_COLUMNS:
                self.columns.setdefault(name, Counter())[json_type(value)] += 1
        self.num_rows_with_tools += bool(row.get("tools"))
        messages = row.get("messages")
        if isinstance(messages, list):
            self._add_messages([message for message in messages if isinstance(message, dict)])

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
        self.max_prompt_chars = max(self.max_prompt_chars, chars)

    def to_json(self) -> dict[str, Any]:
        values = {name: value for name, value in vars(self).items() if name not in ("columns", "roles")}
        columns = {name: dict(types) for name, types in self.columns.items()}
        return values | {"columns": columns, "roles": dict(self.roles)}


def text_of(content: Any) -> str:
    """The text of a message's content, its parts joined."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))
