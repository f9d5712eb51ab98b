"""From a checked request and a loaded model to rows for the scheduler."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from fettle_workers.engine.chat import ChatError
from fettle_workers.engine.sampler import Row, SamplingParams
from fettle_workers.serving.choice import Choice
from fettle_workers.serving.edits import LogitsEdits
from fettle_workers.serving.errors import BadRequest
from fettle_workers.serving.grammar import answer_grammar
from fettle_workers.serving.models import ServedModel
from fettle_workers.serving.scheduler import Part
from fettle_workers.serving.schema import ChatRequest

_DEFAULT_NEW_TOKENS = 4096  # when the request sets no limit and the context leaves more


@dataclass(frozen=True)
class Prepared:
    model: ServedModel
    prompt_ids: tuple[int, ...]
    parts: list[Part]


def prepare(request: ChatRequest, model: ServedModel) -> Prepared:
    """Render the prompt and set up one part per choice.

    Raises:
        BadRequest: messages the template refuses, a prompt longer than the context, an unknown token in the bias, a
            schema that cannot be enforced.
    """
    prompt_ids = _prompt_ids(request, model)
    params = SamplingParams(
        max_new_tokens=_max_new_tokens(request, model, len(prompt_ids)),
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else max(request.top_p, 1e-6),
    )
    _check_bias(request, model)
    seed = secrets.randbits(63) if request.seed is None else request.seed
    parts = [_part(request, model, prompt_ids, params, seed=seed, index=index) for index in range(request.n)]
    return Prepared(model, prompt_ids, parts)


def _prompt_ids(request: ChatRequest, model: ServedModel) -> tuple[int, ...]:
    try:
        ids = model.policy.chat.render(
            request.messages,
            tools=[tool.model_dump(exclude_none=True) for tool in request.offered_tools] or None,
            response_format=request.response_format and request.response_format.model_dump(by_alias=True),
            reasoning_effort=request.reasoning_effort,
        )
    except ChatError as error:
        raise BadRequest(str(error), code="invalid_value", param=error.param) from error
    return tuple(ids)


def _max_new_tokens(request: ChatRequest, model: ServedModel, num_prompt_tokens: int) -> int:
    room = model.policy.context_size - num_prompt_tokens
    if room < 1:
        raise BadRequest(
            f"this model's context holds {model.policy.context_size} tokens, and the messages alone have "
            f"{num_prompt_tokens}; shorten them",
            code="context_length_exceeded",
            param="messages",
        )
    return min(room, request.max_new_tokens or _DEFAULT_NEW_TOKENS)


def _check_bias(request: ChatRequest, model: ServedModel) -> None:
    for token in request.logit_bias or {}:
        if not 0 <= token < model.policy.num_logits:
            raise BadRequest(
                f"logit_bias names token {token}; this model has tokens 0 to {model.policy.num_logits - 1}",
                code="invalid_value",
                param="logit_bias",
            )


def _part(
    request: ChatRequest,
    model: ServedModel,
    prompt_ids: tuple[int, ...],
    params: SamplingParams,
    *,
    seed: int,
    index: int,
) -> Part:
    edits = _edits(request, model)
    choice = Choice(
        model.policy.chat,
        model.policy.chat.token_bytes,
        stops=request.stop,
        find_tool_calls=bool(request.offered_tools),
        num_top_logprobs=(request.top_logprobs or 0) if request.logprobs else None,
    )
    return Part(index, Row(prompt_ids, choice_seed(seed, index), params, edits), choice, edits)


def _edits(request: ChatRequest, model: ServedModel) -> LogitsEdits | None:
    source = answer_grammar(request.response_format, request.must_call, model.policy.tokenizer)
    param = "tools" if request.must_call else "response_format"
    edits = LogitsEdits(
        bias=request.logit_bias or {},
        frequency_penalty=request.frequency_penalty or 0.0,
        presence_penalty=request.presence_penalty or 0.0,
        grammar=None if source is None else model.grammars.compile(source, param=param),
    )
    return edits if edits.changes_anything else None


def choice_seed(seed: int, index: int) -> int:
    """A seed per choice of a request, so that the choices differ and the same request gives the same choices."""
    return int.from_bytes(hashlib.sha256(f"choice {seed} {index}".encode()).digest()[:8], "big")
