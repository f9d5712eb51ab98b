"""The body of a chat completion request: the fields this server acts on. Others of the wire are ignored or refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_CHOICES = 128


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Function(_Body):
    name: Annotated[str, Field(min_length=1, max_length=64)]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(_Body):
    type: Literal["function"]
    function: Function


class NamedFunction(_Body):
    name: str


class NamedTool(_Body):
    type: Literal["function"]
    function: NamedFunction


class StreamOptions(_Body):
    include_usage: bool = False


class JsonSchema(_Body):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)
    name: str = "answer"
    schema_: Annotated[dict[str, Any], Field(alias="schema")] = {}


class ResponseFormat(_Body):
    """`text`, `json_object`, or `json_schema` in the chat form; the flat form (`schema` beside `type`) is read too."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="before")
    @classmethod
    def _flat_form(cls, data: Any) -> Any:
        if isinstance(data, dict) and "schema" in data and "json_schema" not in data:
            return data | {"json_schema": {"name": data.get("name", "answer"), "schema": data["schema"]}}
        return data

    @model_validator(mode="after")
    def _has_schema(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("type json_schema needs the field json_schema with name and schema")
        return self


class ChatRequest(_Body):
    model: str
    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] = 1
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 1.0
    top_p: Annotated[float, Field(ge=0, le=1)] | None = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    logprobs: bool | None = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = 0.0
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = 0.0
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] | None = None
    tools: tuple[Tool, ...] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    # Not offered here; naming them gives an answer in words instead of silence.
    audio: Any = None
    modalities: tuple[str, ...] | None = None
    web_search_options: Any = None

    @field_validator("stop", mode="before")
    @classmethod
    def _stop_strings(cls, value: Any) -> Any:
        stops = () if value is None else (value,) if isinstance(value, str) else value
        if isinstance(stops, list | tuple) and (len(stops) > 4 or "" in stops):
            raise ValueError("expected at most 4 strings, none of them empty")
        return stops

    @model_validator(mode="after")
    def _only_what_is_offered(self) -> ChatRequest:
        if self.audio is not None or self.web_search_options is not None or set(self.modalities or ()) - {"text"}:
            raise ValueError("this model reads and writes text only: no audio, modalities or web_search_options")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        if isinstance(self.tool_choice, NamedTool) and self.tool_choice.function.name not in self.tool_names:
            raise ValueError(f"tool_choice names {self.tool_choice.function.name!r}, which is not among the tools")
        if self.tool_choice == "required" and not self.tools:
            raise ValueError("tool_choice 'required' needs tools")
        return self

    @property
    def tool_names(self) -> set[str]:
        return {tool.function.name for tool in self.tools or ()}

    @property
    def offered_tools(self) -> tuple[Tool, ...]:
        """The tools the model is told of."""
        return () if self.tool_choice == "none" else self.tools or ()

    @property
    def must_call(self) -> tuple[Tool, ...]:
        """The tools of which the model must call one; empty when it need not."""
        if isinstance(self.tool_choice, NamedTool):
            return tuple(tool for tool in self.offered_tools if tool.function.name == self.tool_choice.function.name)
        return self.offered_tools if self.tool_choice == "required" else ()

    @property
    def max_new_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens
