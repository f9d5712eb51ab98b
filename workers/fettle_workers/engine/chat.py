"""Messages in, token ids out; token ids in, answer, thinking and tool calls out.

Thinking is separated by the ids of `<think>` and `</think>`, never by searching text: an answer that merely mentions
the tag stays an answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import GenerationConfig, PreTrainedTokenizerFast

from fettle_workers.engine.token_text import TextStream, TokenBytes

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
_TOOL_OPEN, _TOOL_CLOSE = "<tool_call>", "</tool_call>"
_ROLES = ("system", "developer", "user", "assistant", "tool")


class ChatError(ValueError):
    """The messages cannot be rendered for this model. `param` is the path of the offending field."""

    def __init__(self, message: str, *, param: str = "messages") -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True)
class ToolCall:
    name: str
    arguments: str  # JSON text of an object, as on the wire


@dataclass(frozen=True)
class Parsed:
    """A completion taken apart. `closed` is False when the thinking was cut off, so that there is no answer."""

    text: str
    reasoning: str | None
    num_reasoning_tokens: int
    tool_calls: tuple[ToolCall, ...]
    closed: bool


@dataclass(frozen=True)
class Segment:
    """A run of completion tokens that are all thinking or all answer."""

    is_thinking: bool
    ids: tuple[int, ...]


@dataclass(frozen=True)
class ChatFormat:
    """How one model's template writes a conversation and how its completions are read back.

    `starts_thinking` tells that the template's generation prompt already opens the thinking; completions of such a
    model start inside it.
    """

    tokenizer: PreTrainedTokenizerFast
    eos_ids: frozenset[int]
    think_open_id: int | None
    think_close_id: int | None
    starts_thinking: bool
    knows_developer: bool
    knows_system: bool

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast, generation: GenerationConfig | None = None) -> ChatFormat:
        """Read from a tokenizer, its chat template and the model's generation config what the format needs."""
        open_id, close_id = _single_id(tokenizer, THINK_OPEN), _single_id(tokenizer, THINK_CLOSE)
        if open_id is None or close_id is None:
            open_id = close_id = None
        template = str(tokenizer.chat_template or "")
        return cls(
            tokenizer=tokenizer,
            eos_ids=_eos_ids(tokenizer, generation),
            think_open_id=open_id,
            think_close_id=close_id,
            starts_thinking=open_id is not None and _prompt_opens_thinking(tokenizer, open_id, close_id),
            knows_developer="developer" in template,
            knows_system=_accepts_system(tokenizer),
        )

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        response_format: Mapping[str, Any] | None = None,
        reasoning_effort: str | None = None,
    ) -> list[int]:
        """Token ids of the conversation and of the opening of the assistant's turn.

        Args:
            messages: as in chat completions; content is text or a list of parts of type `text`.
            response_format: handed to the template under its name, for templates that know it; no text is added.
            reasoning_effort: the same, for templates that know it.

        Raises:
            ChatError: an unknown role, a content part that is not text, or a conversation that the template refuses.
        """
        if self.tokenizer.chat_template is None:
            raise ChatError("the model has no chat template, so it cannot answer messages", param="model")
        if not messages:
            raise ChatError("messages is empty; expected at least one message")
        extras = {"response_format": response_format, "reasoning_effort": reasoning_effort}
        try:
            text = self.tokenizer.apply_chat_template(
                self._normalise(messages),
                tools=[dict(tool) for tool in tools] if tools else None,
                add_generation_prompt=True,
                tokenize=False,
                **{name: value for name, value in extras.items() if value is not None},
            )
        except (TemplateError, TypeError, KeyError) as error:
            raise ChatError(f"the model's chat template refuses the messages: {error}") from error
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _normalise(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        plain = [self._message(message, index) for index, message in enumerate(messages)]
        if self.knows_system or plain[0]["role"] != "system":
            return plain
        # A template without a system role (Gemma 2): the instruction goes in front of the first user message.
        if len(plain) < 2 or plain[1]["role"] != "user":
            raise ChatError("the model has no system role; a system message must be followed by a user message")
        merged = {**plain[1], "content": f"{plain[0]['content']}\n\n{plain[1]['content']}"}
        return [merged, *plain[2:]]

    def _message(self, message: Mapping[str, Any], index: int) -> dict[str, Any]:
        role = message.get("role")
        if role not in _ROLES:
            expected = ", ".join(_ROLES)
            raise ChatError(
                f"messages[{index}].role is {role!r}; expected one of {expected}", param=_path(index, "role")
            )
        if role == "developer" and not self.knows_developer:
            role = "system"
        elif role == "system" and self.knows_developer and not self.knows_system:
            role = "developer"
        plain = {**message, "role": role, "content": _content_text(message.get("content"), index)}
        if message.get("tool_calls"):
            plain["tool_calls"] = [_template_tool_call(call, index) for call in message["tool_calls"]]
        return plain

    def segments(self, ids: Sequence[int]) -> list[Segment]:
        """Cut completion ids at the thinking marks; the marks and end-of-turn tokens are in no segment."""
        return [segment for segment, _ in self._placed_segments(ids)]

    def _placed_segments(self, ids: Sequence[int]) -> list[tuple[Segment, list[int]]]:
        """The segments, each with the places of its tokens in `ids`."""
        found: list[tuple[Segment, list[int]]] = []
        is_thinking, run = self.starts_thinking, []
        for place, token in enumerate([*ids, None]):
            if token is None or token in (self.think_open_id, self.think_close_id):
                if run:
                    found.append((Segment(is_thinking, tuple(ids[at] for at in run)), run))
                run, is_thinking = [], token == self.think_open_id
            elif token not in self.eos_ids:
                run.append(place)
        return found

    @cached_property
    def token_bytes(self) -> TokenBytes:
        return TokenBytes(self.tokenizer)

    def token_chars(self, ids: Sequence[int], parsed: Parsed) -> list[int] | None:
        """How many characters each token wrote of `parsed.reasoning` and, after that, of `parsed.text`.

        None where the two do not simply follow one another: the model thought again after it had begun to answer.
        """
        pieces = [""] * len(ids)
        thinking, answer = [], []
        for segment, places in self._placed_segments(ids):
            stream = TextStream(self.token_bytes)
            for place, token in zip(places, segment.ids, strict=True):
                pieces[place] = stream.push(token)
            pieces[places[-1]] += stream.finish()
            (thinking if segment.is_thinking else answer).extend(places)
        counts = [0] * len(ids)
        for places, text in ((thinking, parsed.reasoning or ""), (answer, parsed.text)):
            found = _share([pieces[place] for place in places], text)
            if found is None:
                return None
            for place, count in zip(places, found, strict=True):
                counts[place] = count
        last_thought = max((place for place in thinking if counts[place]), default=-1)
        return None if any(counts[place] and place < last_thought for place in answer) else counts

    def num_reasoning_tokens(self, ids: Sequence[int]) -> int:
        """Tokens of thinking, the marks included."""
        is_thinking, total = self.starts_thinking, 0
        for token in ids:
            is_mark = self.think_open_id is not None and token in (self.think_open_id, self.think_close_id)
            is_thinking = token == self.think_open_id if is_mark else is_thinking
            total += is_mark or (is_thinking and token not in self.eos_ids)
        return total

    def parse(self, ids: Sequence[int], *, find_tool_calls: bool = True) -> Parsed:
        """Take a completion apart.

        White space right after `</think>` and around the thinking belongs to neither. Without thinking the text is
        exactly what the tokens say.
        """
        segments = self.segments(ids)
        thinking = "".join(self.decode(part.ids) for part in segments if part.is_thinking).strip()
        text = "".join(self.decode(part.ids) for part in segments if not part.is_thinking)
        num_reasoning_tokens = self.num_reasoning_tokens(ids)
        if num_reasoning_tokens:
            text = text.lstrip()
        text, tool_calls = split_tool_calls(text) if find_tool_calls else (text, ())
        return Parsed(
            text=text,
            reasoning=thinking if num_reasoning_tokens else None,
            num_reasoning_tokens=num_reasoning_tokens,
            tool_calls=tool_calls,
            closed=not self._ends_thinking(ids),
        )

    def _ends_thinking(self, ids: Sequence[int]) -> bool:
        if self.think_open_id is None:
            return False
        marks = [token for token in ids if token in (self.think_open_id, self.think_close_id)]
        return marks[-1] == self.think_open_id if marks else self.starts_thinking

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; special tokens say nothing, bytes that are no text show as U+FFFD."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _share(pieces: Sequence[str], text: str) -> list[int] | None:
    """How much of each piece is in `text`: all of them joined, but for white space before it and whatever follows it.
    None: it is not."""
    whole = "".join(pieces)
    start = 0 if whole.startswith(text) else len(whole) - len(whole.lstrip())
    end = start + len(text)
    if whole[start:end] != text:
        return None
    counts, at = [], 0
    for piece in pieces:
        counts.append(max(0, min(end, at + len(piece)) - max(start, at)))
        at += len(piece)
    return counts


def split_tool_calls(text: str) -> tuple[str, tuple[ToolCall, ...]]:
    """Cut Hermes-style `<tool_call>{"name": ..., "arguments": {...}}</tool_call>` blocks out of an answer.

    Returns:
        The text before the first block, and the calls. When any block is not such JSON, the whole text and no call:
        half a set of calls would be executed as if it were all of them.
    """
    before, *blocks = text.split(_TOOL_OPEN)
    calls = [_tool_call(block.partition(_TOOL_CLOSE)[0]) for block in blocks]
    if not blocks or None in calls:
        return text, ()
    return before.rstrip(), tuple(call for call in calls if call is not None)


def _tool_call(text: str) -> ToolCall | None:
    try:
        data = json.loads(text)
    except ValueError:
        return None
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        return None
    arguments = data.get("arguments", {})
    if not isinstance(arguments, dict):
        return None
    return ToolCall(data["name"], json.dumps(arguments, ensure_ascii=False))


def _path(index: int, name: str) -> str:
    return f"messages[{index}].{name}"


def _content_text(content: Any, index: int) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        found = type(content).__name__
        raise ChatError(
            f"{_path(index, 'content')} is a {found}; expected text or a list of parts", param=_path(index, "content")
        )
    texts = []
    for number, part in enumerate(content):
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, Mapping) else part
            where = f"{_path(index, 'content')}[{number}]"
            raise ChatError(f"{where} is of type {kind!r}; this model reads parts of type 'text' only", param=where)
        texts.append(part["text"])
    return "\n".join(texts)


def _template_tool_call(call: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Templates write the arguments as JSON themselves, so they want the object, not the wire's text of it."""
    function = dict(call.get("function") or {})
    if isinstance(function.get("arguments"), str):
        try:
            function["arguments"] = json.loads(function["arguments"] or "{}")
        except ValueError as error:
            where = _path(index, "tool_calls")
            raise ChatError(
                f"{where}: arguments of {function.get('name')!r} are not JSON: {error}", param=where
            ) from None
    return {**call, "function": function}


def _single_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int | None:
    return tokenizer.get_vocab().get(token)


def _eos_ids(tokenizer: PreTrainedTokenizerFast, generation: GenerationConfig | None) -> frozenset[int]:
    configured = getattr(generation, "eos_token_id", None)
    ids = configured if isinstance(configured, list | tuple) else [configured]
    return frozenset(int(i) for i in [*ids, tokenizer.eos_token_id] if i is not None)


def _trial(tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, str]]) -> str | None:
    if tokenizer.chat_template is None:
        return None
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except (TemplateError, TypeError, KeyError):
        return None


def _accepts_system(tokenizer: PreTrainedTokenizerFast) -> bool:
    user = {"role": "user", "content": "b"}
    with_system = _trial(tokenizer, [{"role": "system", "content": "a"}, user])
    return with_system is not None or _trial(tokenizer, [user]) is None


def _prompt_opens_thinking(tokenizer: PreTrainedTokenizerFast, open_id: int, close_id: int) -> bool:
    text = _trial(tokenizer, [{"role": "user", "content": "a"}])
    ids = tokenizer.encode(text, add_special_tokens=False) if text else []
    marks = [token for token in ids if token in (open_id, close_id)]
    return bool(marks) and marks[-1] == open_id
