"""Answers in the shapes of the wire: whole completions, chunks, usage."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fettle_workers.engine.chat import ToolCall
from fettle_workers.serving.choice import Choice, Delta


@dataclass(frozen=True)
class Envelope:
    """What all parts of one answer have in common."""

    model: str
    num_prompt_tokens: int
    with_logprobs: bool
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def completion(self, choices: list[Choice], answers: list[Delta]) -> dict[str, Any]:
        """The whole answer. `answers` are the deltas of each choice, added up."""
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [self._choice(index, answer) for index, answer in enumerate(answers)],
            "usage": self.usage(choices),
        }

    def _choice(self, index: int, answer: Delta) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": answer.content if answer.content or not answer.tool_calls else None,
            "refusal": None,
        }
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.tool_calls:
            message["tool_calls"] = tool_calls(answer.tool_calls)
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs(answer),
            "finish_reason": answer.finish_reason,
        }

    def opening(self, index: int) -> dict[str, Any]:
        return self._chunk([{"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])

    def chunks(self, index: int, delta: Delta) -> Iterable[dict[str, Any]]:
        """What a delta becomes in the stream: thinking, text, tool calls, and the end, each a chunk of its own."""
        if delta.reasoning:
            yield self._delta(index, {"reasoning_content": delta.reasoning})
        if delta.content or delta.logprobs:
            yield self._delta(index, {"content": delta.content}, logprobs=self._logprobs(delta))
        if delta.tool_calls:
            calls = [{"index": number} | call for number, call in enumerate(tool_calls(delta.tool_calls))]
            yield self._delta(index, {"tool_calls": calls})
        if delta.finish_reason:
            yield self._delta(index, {}, finish_reason=delta.finish_reason)

    def usage_chunk(self, choices: list[Choice]) -> dict[str, Any]:
        return self._chunk([]) | {"usage": self.usage(choices)}

    def usage(self, choices: list[Choice]) -> dict[str, Any]:
        num_completion_tokens = sum(len(choice.ids) for choice in choices)
        return {
            "prompt_tokens": self.num_prompt_tokens,
            "completion_tokens": num_completion_tokens,
            "total_tokens": self.num_prompt_tokens + num_completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": sum(choice.num_reasoning_tokens for choice in choices),
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def _logprobs(self, delta: Delta) -> dict[str, Any] | None:
        return {"content": delta.logprobs, "refusal": None} if self.with_logprobs else None

    def _delta(
        self,
        index: int,
        delta: dict[str, Any],
        *,
        logprobs: dict[str, Any] | None = None,
        finish_reason: str | None = None,
    ) -> dict[str, Any]:
        return self._chunk([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}])

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


def tool_calls(calls: Iterable[ToolCall]) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call_{secrets.token_hex(12)}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in calls
    ]


def add(total: Delta, more: Delta) -> None:
    """Add a delta to what came before it."""
    total.content += more.content
    total.reasoning += more.reasoning
    total.logprobs += more.logprobs
    total.tool_calls += more.tool_calls
    total.finish_reason = more.finish_reason or total.finish_reason


def frame(data: dict[str, Any] | str) -> bytes:
    """A server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"data: {text}\n\n".encode()
