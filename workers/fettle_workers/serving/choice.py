"""One answer while it is written: thinking and text apart, stop strings, tool calls, token logprobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from fettle_workers.engine.chat import ChatFormat, ToolCall, split_tool_calls
from fettle_workers.engine.token_text import TextStream, TokenBytes

FinishReason = Literal["stop", "length", "tool_calls"]
_TOOL_OPEN = "<tool_call>"


@dataclass
class Delta:
    """What a token adds to the answer."""

    content: str = ""
    reasoning: str = ""
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason | None = None

    def __bool__(self) -> bool:
        return bool(self.content or self.reasoning or self.logprobs or self.tool_calls or self.finish_reason)


class Choice:
    """Give it each token as it is drawn; it says what may be shown.

    Text is held back while it could still turn out to be the beginning of a stop string or of a tool call. Stop
    strings are looked for in the answer, not in the thinking.
    """

    def __init__(
        self,
        chat: ChatFormat,
        token_bytes: TokenBytes,
        *,
        stops: Sequence[str] = (),
        find_tool_calls: bool = False,
        num_top_logprobs: int | None = None,
    ) -> None:
        self.ids: list[int] = []
        self.finish_reason: FinishReason | None = None
        self.num_top_logprobs = num_top_logprobs
        self._chat, self._bytes = chat, token_bytes
        self._stops = tuple(stops)
        self._find_tool_calls = find_tool_calls
        self._thinking = chat.starts_thinking
        self._has_thought = chat.starts_thinking
        self._stream = TextStream(token_bytes)
        self._held = ""  # answer text not shown yet
        self._reasoning_started = False
        self._space = ""  # white space inside the thinking, shown when something follows
        self._trims = False  # the answer's leading white space is still being dropped
        self._num_seen = 0  # characters of the answer so far, shown, held or dropped
        self._entries: list[tuple[int, dict[str, Any]]] = []  # (number of characters up to its end, logprob entry)

    @property
    def num_reasoning_tokens(self) -> int:
        return self._chat.num_reasoning_tokens(self.ids)

    def push(self, token: int, reason: Literal["stop", "length"] | None, logits_V: Tensor) -> Delta:
        """Add a token.

        Args:
            reason: set when this is the last token.
            logits_V: the model's logits that the token was drawn from, for its logprob.
        """
        self.ids.append(token)
        delta = Delta()
        if self._is_mark(token):
            self._end_run(delta)
            self._thinking = token == self._chat.think_open_id
            self._has_thought = self._trims = True
        elif token not in self._chat.eos_ids:
            text = self._stream.push(token)
            if self.num_top_logprobs is not None and not self._thinking:
                self._entries.append((self._num_seen + len(text), self._entry(token, logits_V)))
            self._add_text(text, delta)
        if reason is not None and self.finish_reason is None:
            self._end_run(delta)
            if self.finish_reason is None:
                self._release_all(delta, reason)
        delta.finish_reason = self.finish_reason
        return delta

    def _is_mark(self, token: int) -> bool:
        return self._chat.think_open_id is not None and token in (self._chat.think_open_id, self._chat.think_close_id)

    def _end_run(self, delta: Delta) -> None:
        self._add_text(self._stream.finish(), delta)
        self._stream = TextStream(self._bytes)
        self._space = ""

    def _add_text(self, text: str, delta: Delta) -> None:
        if self._thinking:
            self._add_reasoning(text, delta)
        elif text and self.finish_reason is None:
            self._num_seen += len(text)
            if self._trims:
                text = text.lstrip()
                self._trims = not text
            self._held += text
            self._release(delta)

    def _add_reasoning(self, text: str, delta: Delta) -> None:
        text = self._space + text
        shown = text.rstrip()
        self._space = text[len(shown) :]
        if not self._reasoning_started:
            shown = shown.lstrip()
            self._space = self._space if shown else ""
        self._reasoning_started = self._reasoning_started or bool(shown)
        delta.reasoning += shown

    def _release(self, delta: Delta) -> None:
        """Show what can no longer become part of a stop string or a tool call."""
        cuts = [self._held.find(stop) for stop in self._stops if stop in self._held]
        call = self._held.find(_TOOL_OPEN) if self._find_tool_calls else -1
        if cuts and (call < 0 or min(cuts) < call):
            self._show(min(cuts), delta)
            self._held = ""
            self.finish_reason = "stop"
        elif call >= 0:
            self._show(call, delta)
        else:
            watched = (*self._stops, _TOOL_OPEN) if self._find_tool_calls else self._stops
            self._show(len(self._held) - max((_overlap(self._held, text) for text in watched), default=0), delta)

    def _show(self, length: int, delta: Delta) -> None:
        delta.content += self._held[:length]
        self._held = self._held[length:]
        num_shown = self._num_seen - len(self._held)
        while self._entries and self._entries[0][0] <= num_shown:
            delta.logprobs.append(self._entries.pop(0)[1])

    def _release_all(self, delta: Delta, reason: Literal["stop", "length"]) -> None:
        text, calls = split_tool_calls(self._held) if self._find_tool_calls else (self._held, ())
        delta.tool_calls = calls
        delta.content += text
        delta.logprobs += [entry for _, entry in self._entries]
        self._held, self._entries = "", []
        self.finish_reason = "tool_calls" if calls else reason

    def _entry(self, token: int, logits_V: Tensor) -> dict[str, Any]:
        logprobs_V = torch.log_softmax(logits_V, dim=-1)
        values, ids = logprobs_V.topk(min(self.num_top_logprobs or 0, len(logprobs_V)))
        top = [self._token(i, value) for i, value in zip(ids.tolist(), values.tolist(), strict=True)]
        return self._token(token, float(logprobs_V[token])) | {"top_logprobs": top}

    def _token(self, token: int, logprob: float) -> dict[str, Any]:
        raw = self._bytes[token]
        return {"token": raw.decode("utf-8", "replace"), "bytes": list(raw), "logprob": max(logprob, -9999.0)}


def _overlap(text: str, sought: str) -> int:
    """Length of the longest end of `text` that is a beginning of `sought`, shorter than it."""
    for length in range(min(len(text), len(sought) - 1), 0, -1):
        if text.endswith(sought[:length]):
            return length
    return 0
