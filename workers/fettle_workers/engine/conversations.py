"""Demonstrations as training sequences: only what the assistant should say is in the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fettle_workers.engine.chat import ChatError, ChatFormat
from fettle_workers.engine.data import RawData, RawRow
from fettle_workers.engine.logprob import TokenSequence
from fettle_workers.engine.select import report_split


@dataclass(frozen=True)
class Demonstration(RawRow):
    """A row of a supervised job. A conversation of several turns may need several sequences, see `_sequences`.

    `opening` is the prompt of the last assistant turn, for showing what a policy says there.
    """

    sequences: tuple[TokenSequence, ...]
    opening: tuple[int, ...]

    @property
    def prompt_text(self) -> str:
        users = [message for message in self.item["messages"] if message.get("role") == "user"]
        return str(users[-1].get("content")) if users else ""


@dataclass(frozen=True)
class Demonstrations:
    train: tuple[Demonstration, ...]
    select: tuple[Demonstration, ...]
    report: tuple[Demonstration, ...]
    in_sample: bool


def render_demonstrations(raw: RawData, chat: ChatFormat, *, context_size: int) -> Demonstrations:
    """Render every conversation once.

    Raises:
        JobFailed: a row that ends without the assistant, trains nothing, or does not fit the context, named.
    """

    def rendered(row: RawRow) -> Demonstration:
        messages = row.item["messages"]
        if messages[-1].get("role") != "assistant":
            raise row.failed(f"the last message is of role {messages[-1].get('role')!r}; expected 'assistant'")
        try:
            sequences, opening = _sequences(messages, row.item.get("tools"), chat)
        except ChatError as error:
            raise row.failed(str(error)) from None
        longest = max((len(sequence.ids) for sequence in sequences), default=0)
        if longest > context_size:
            raise row.failed(f"the conversation has {longest} tokens, the model's context is {context_size}")
        if not sequences:
            raise row.failed("every assistant message has weight 0, so there is nothing to learn")
        return Demonstration(row.source, row.index, row.item, sequences, opening)

    train, held_out = tuple(map(rendered, raw.train)), tuple(map(rendered, raw.held_out))
    select, report = (tuple(held_out[i] for i in part) for part in report_split(len(held_out)))
    return Demonstrations(train, select, select if select == report else report, raw.in_sample)


def _sequences(
    messages: Sequence[dict[str, Any]], tools: Any, chat: ChatFormat
) -> tuple[tuple[TokenSequence, ...], tuple[int, ...]]:
    """Cut a conversation at its assistant turns.

    Turns share a sequence while each prompt continues the tokens before it. Where the template rewrites the past (it
    may drop earlier thinking), a new sequence starts, so that every turn is trained on exactly the tokens that
    sampling would have in front of it.
    """
    done: list[TokenSequence] = []
    ids, in_loss, prompt = list[int](), list[bool](), list[int]()
    for index, message in enumerate(messages):
        if message.get("role") != "assistant":
            continue
        prompt = chat.render(messages[:index], tools=tools)
        said = _said(messages[: index + 1], prompt, tools, chat)
        if prompt[: len(ids)] != ids:
            done.append(TokenSequence(tuple(ids), tuple(in_loss)))
            ids, in_loss = [], []
        in_loss += [False] * (len(prompt) - len(ids)) + [message.get("weight", 1) != 0] * len(said)
        ids = prompt + said
    done.append(TokenSequence(tuple(ids), tuple(in_loss)))
    return tuple(sequence for sequence in done if any(sequence.in_loss)), tuple(prompt)


def _said(messages: Sequence[dict[str, Any]], prompt: list[int], tools: Any, chat: ChatFormat) -> list[int]:
    """The tokens of the last message as the policy would have sampled them, its end-of-turn token included.

    They are read off the template's own rendering of the next turn; where that does not continue the prompt, the
    plain content is encoded.
    """
    whole = chat.render(messages, tools=tools)
    if whole[: len(prompt)] == prompt:
        rest = whole[len(prompt) :]
        ends = [position for position, token in enumerate(rest) if token in chat.eos_ids]
        if ends:
            return rest[: ends[0] + 1]
    content = messages[-1].get("content") or ""
    text = content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)
    return [*chat.tokenizer.encode(text, add_special_tokens=False), chat.tokenizer.eos_token_id]
