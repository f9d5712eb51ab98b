"""Answers that must be JSON, match a schema, or call a tool: at every token only what the grammar allows may be drawn.

Constrained is the answer. Thinking before it is free, but must be closed before the turn may end. An answer that runs
into its token limit is cut off and therefore not valid: its finish reason is `length`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from fettle_workers.engine.chat import ChatFormat
from fettle_workers.serving.errors import BadRequest
from fettle_workers.serving.schema import ResponseFormat, Tool

# Between JSON tokens; without a bound a model that likes white space writes nothing else.
_LAYOUT = {"whitespace_pattern": "[ \\n]{0,8}"}


def answer_grammar(
    response_format: ResponseFormat | None, must_call: Sequence[Tool], tokenizer: PreTrainedTokenizerFast
) -> str | None:
    """The grammar that a request asks for, or None. A required tool call goes before a response format."""
    if must_call:
        return _tool_grammar(must_call, tokenizer)
    if response_format is None or response_format.type == "text":
        return None
    schema = {"type": "object"} if response_format.json_schema is None else response_format.json_schema.schema_
    return LLMatcher.grammar_from_json_schema(schema, overrides=_LAYOUT)


def _tool_grammar(tools: Sequence[Tool], tokenizer: PreTrainedTokenizerFast) -> str:
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool.function.name},
                "arguments": tool.function.parameters or {"type": "object"},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    vocabulary = tokenizer.get_vocab()
    opening, closing = (mark if mark in vocabulary else json.dumps(mark) for mark in ("<tool_call>", "</tool_call>"))
    schema = json.dumps({"anyOf": calls, "x-guidance": _LAYOUT})
    return LLMatcher.grammar_from_lark(f'start: {opening} "\\n" call "\\n" {closing}\ncall: %json {schema}')


class Grammars:
    """Builds matchers for one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, chat: ChatFormat, *, num_logits: int) -> None:
        self._chat = chat
        self._tokenizer = LLTokenizer(
            tokenizer.backend_tokenizer.to_str(), n_vocab=num_logits, eos_token=sorted(chat.eos_ids)
        )

    def compile(self, grammar: str, *, param: str) -> AnswerGrammar:
        """Raises BadRequest when the schema uses what the grammar library does not support."""
        complaint = LLMatcher.validate_grammar(grammar, self._tokenizer)
        if complaint:
            raise BadRequest(
                f"{param}: this schema cannot be enforced: {complaint.splitlines()[0]}",
                code="invalid_value",
                param=param,
            )
        return AnswerGrammar(LLMatcher(self._tokenizer, grammar, log_level=0), self._chat)


class AnswerGrammar:
    """The state of one answer: which tokens may come next."""

    def __init__(self, matcher: Any, chat: ChatFormat) -> None:
        self._matcher = matcher
        self._chat = chat
        self._eos = torch.tensor(sorted(chat.eos_ids), dtype=torch.long)
        self._marks = [i for i in (chat.think_open_id, chat.think_close_id) if i is not None]
        self._thinking = chat.starts_thinking
        self._may_think = chat.think_open_id is not None and not chat.starts_thinking

    def mask(self, logits_V: Tensor) -> Tensor:
        """The logits with -inf where a token is not allowed."""
        if self._thinking:
            return logits_V.index_fill(0, self._eos.to(logits_V.device), -torch.inf)
        allowed = np.frombuffer(self._matcher.compute_logit_bias(), dtype=np.uint8) != 0
        allowed[self._marks] = False
        if self._may_think:
            allowed[self._chat.think_open_id] = True
        return logits_V.masked_fill(~torch.from_numpy(allowed).to(logits_V.device), -torch.inf)

    def observe(self, token: int) -> None:
        """Tell which token was drawn."""
        if token in self._marks:
            self._thinking = token == self._chat.think_open_id
        elif not self._thinking and token not in self._chat.eos_ids and not self._matcher.consume_token(token):
            raise RuntimeError(f"the grammar refused token {token}: {self._matcher.get_error().splitlines()[0]}")
        self._may_think = False
