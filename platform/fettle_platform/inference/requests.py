"""The body of a chat completion: checked, and rebuilt from the fields that may reach the model server.

Media addresses never pass: the model server would fetch them from inside the network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from fettle_platform.core import strict_json
from fettle_platform.core.errors import InvalidRequest, invalid_from_pydantic

MAX_N = 16
MAX_MESSAGES = 2048

# Known on the wire, without a meaning here.
IGNORED = frozenset(
    {
        "metadata",
        "moderation",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
        "verbosity",
    }
)
_REFUSED = {
    "audio": "audio answers are not offered",
    "web_search_options": "web search is not offered",
    "functions": "use `tools`",
    "function_call": "use `tool_choice`",
}


def _as_list(stop: object) -> object:
    return [stop] if isinstance(stop, str) else stop


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(_Strict):
    type: Literal["text"]
    text: str


class FunctionCall(_Strict):
    name: str
    arguments: str


class ToolCall(_Strict):
    id: str
    type: Literal["function"]
    function: FunctionCall


class Message(_Strict):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class Function(_Strict):
    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(_Strict):
    type: Literal["function"]
    function: Function


class NamedFunction(_Strict):
    name: str


class NamedTool(_Strict):
    type: Literal["function"]
    function: NamedFunction


class JSONSchema(_Strict):
    name: str
    description: str | None = None
    json_schema: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(_Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JSONSchema | None = None


class StreamOptions(_Strict):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatRequest(_Strict):
    """What is sent on. `model` is the public id, which the gateway replaces."""

    model: Annotated[str, Field(min_length=1, max_length=440)]
    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_N)] | None = None
    stop: Annotated[list[str], Field(max_length=4), BeforeValidator(_as_list)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Literal["none", "minimal", "default", "low", "medium", "high", "xhigh", "max"] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None

    def upstream_body(self, upstream_name: str) -> bytes:
        """JSON for the model server. Fields that were not given are left out, so its defaults hold."""
        body = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        # A null inside a message means something (no content beside tool calls); elsewhere it means "not given".
        for sent, message in zip(body["messages"], self.messages, strict=True):
            sent.setdefault("content", message.content)
        return json.dumps(body | {"model": upstream_name}, ensure_ascii=False).encode()


def parse_chat_request(raw: bytes) -> ChatRequest:
    """Raises InvalidRequest: with code and dotted `param`."""
    return parse_chat_data(_decoded(raw))


def parse_chat_data(data: Mapping[str, Any]) -> ChatRequest:
    """The same of a body that is decoded already."""
    for name, reason in _REFUSED.items():
        if data.get(name) is not None:
            raise InvalidRequest(f"`{name}`: {reason}.", param=name, code="unsupported_parameter")
    if data.get("modalities") not in (None, ["text"]):
        message = '`modalities` must be ["text"]; only text is offered.'
        raise InvalidRequest(message, param="modalities", code="unsupported_parameter")
    _refuse_media(data.get("messages"))
    kept = {key: value for key, value in data.items() if key not in IGNORED and key not in _REFUSED}
    kept.pop("modalities", None)
    try:
        request = ChatRequest.model_validate(kept)
    except ValidationError as error:
        raise invalid_from_pydantic(error) from None
    if request.top_logprobs is not None and not request.logprobs:
        raise InvalidRequest("`top_logprobs` needs `logprobs: true`.", param="top_logprobs")
    if request.stream_options is not None and not request.stream:
        raise InvalidRequest("`stream_options` needs `stream: true`.", param="stream_options")
    return request


def _decoded(raw: bytes) -> Mapping[str, Any]:
    try:
        data = strict_json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The request body is not UTF-8 at byte {error.start}.", code="invalid_json") from None
    except strict_json.StrictJSONError as error:
        raise InvalidRequest(f"The request body cannot be read: {error}.", code="invalid_json") from None
    if not isinstance(data, dict):
        raise InvalidRequest("The request body must be a JSON object.", code="invalid_type")
    return data


def _refuse_media(messages: object) -> None:
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for place, part in enumerate(content if isinstance(content, list) else ()):
            kind = part.get("type") if isinstance(part, dict) else None
            if isinstance(kind, str) and kind != "text":
                param = f"messages.{index}.content.{place}.type"
                message = f"Content parts of type `{kind[:40]}` are not offered; only `text` is."
                raise InvalidRequest(message, param=param, code="unsupported_content")
