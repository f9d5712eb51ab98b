"""Judges behind OpenAI-compatible chat completions: the port `Judge` of the grader library, with retries.

Only for addresses that an operator wrote: unlike `client`, this calls private ones too.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from fettle_graders.errors import GradeFailure
from fettle_graders.services import Judge, JudgeAnswer, JudgeRequest, TokenUsage

log = logging.getLogger(__name__)

RETRIES = 3
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
# What a verdict of our own model server may hold: without bounds a small model writes until it is cut off. Other
# servers' structured outputs refuse these keywords.
_MAX_STEPS = 4
_MAX_STEP_CHARS = 200


class JudgeUpstream(BaseModel):
    """A server of judge models that the operator allows graders to use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(description="up to and including /v1, as OpenAI clients have it")
    api_key: SecretStr | None = None
    models: tuple[str, ...] = Field(min_length=1, description="names that graders may ask")

    @field_validator("base_url")
    @classmethod
    def _http(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("expected an address such as https://api.example.com/v1")
        return url.rstrip("/")


class OpenAIJudge:
    """One upstream. Safe to use from many threads.

    Args:
        name_of: how the upstream calls a model of that name.
        is_bounded: the upstream is our own model server, which takes bounds in the schema and text only.
        sleep: waits that many seconds between tries.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        name_of: Callable[[str], str] = str,
        is_bounded: bool = False,
        timeout_s: float = 120.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = f"{base_url}/chat/completions"
        self._key = api_key
        self._name_of = name_of
        self._is_bounded = is_bounded
        self._sleep = sleep
        self._without_schema: set[str] = set()
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._http = httpx.Client(headers=headers, timeout=httpx.Timeout(timeout_s, connect=10.0), trust_env=False)

    def ask(self, request: JudgeRequest) -> JudgeAnswer:
        """Tries four times in all while the upstream is busy or away.

        Raises:
            GradeFailure: `model_grader_server_error`; what the upstream said is in its details, without the key.
        """
        failure = ""
        for attempt in range(RETRIES + 1):
            body = self._body(request)
            try:
                answer = self._http.post(self._url, json=body)
            except httpx.HTTPError as error:
                failure = f"no answer: {type(error).__name__}: {error}"
                wait_s = self._wait_s(attempt)
            else:
                if answer.status_code == 200:
                    return _answer(answer, request.model)
                failure = f"HTTP {answer.status_code}: {self._without_key(answer.text)[:300]}"
                if answer.status_code == 400 and "response_format" in body and "response_format" in answer.text:
                    self._without_schema.add(request.model)  # it has no structured outputs: the prompt asks for JSON
                    wait_s = 0.0
                elif answer.status_code not in (408, 409, 429) and answer.status_code < 500:
                    raise _server_error(request.model, failure)
                else:
                    wait_s = self._wait_s(attempt, answer.headers.get("retry-after", ""))
            if attempt < RETRIES:
                self._sleep(wait_s)
        raise _server_error(request.model, f"after {RETRIES + 1} tries: {failure}")

    def close(self) -> None:
        self._http.close()

    def _body(self, request: JudgeRequest) -> dict[str, Any]:
        if self._is_bounded and any(not isinstance(message["content"], str) for message in request.messages):
            raise _server_error(request.model, "the models of this server read text only, no images and no sound")
        schema = request.json_schema
        if self._is_bounded:
            schema = _bounded(schema, request.sampling.get("max_completion_tokens"))
        body = {"model": self._name_of(request.model), "messages": list(request.messages), **request.sampling}
        if request.model in self._without_schema:
            return body
        verdict = {"name": "verdict", "strict": True, "schema": schema}
        return {**body, "response_format": {"type": "json_schema", "json_schema": verdict}}

    def _wait_s(self, attempt: int, retry_after: str = "") -> float:
        wished_s = float(retry_after) if retry_after.isdecimal() and len(retry_after) < 5 else 0.0
        wait_s = max(wished_s, _FIRST_WAIT_S * 2**attempt * random.uniform(0.5, 1.5))
        return min(wait_s, _LONGEST_WAIT_S)

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


class AllowedJudges:
    """The judge for each model name that the operator allows."""

    def __init__(self, upstreams: Sequence[JudgeUpstream], *, timeout_s: float = 120.0) -> None:
        self._of_model: dict[str, Judge] = {}
        for upstream in upstreams:
            key = None if upstream.api_key is None else upstream.api_key.get_secret_value()
            judge = OpenAIJudge(upstream.base_url, key, timeout_s=timeout_s)
            self._of_model |= {name: judge for name in upstream.models if name not in self._of_model}

    @property
    def models(self) -> list[str]:
        return list(self._of_model)

    def ask(self, request: JudgeRequest) -> JudgeAnswer:
        if request.model not in self._of_model:
            raise _server_error(request.model, f"no such judge here; there are: {', '.join(self.models) or 'none'}")
        return self._of_model[request.model].ask(request)


def _answer(response: httpx.Response, model: str) -> JudgeAnswer:
    try:
        data = response.json()
        choice = data["choices"][0]
        message = choice["message"]
        usage = data.get("usage") or {}
        refusal = message.get("refusal")
        if choice.get("finish_reason") == "content_filter":
            refusal = refusal or "its content filter stopped it"
        return JudgeAnswer(
            text=message.get("content") or "",
            model=model,
            refusal=refusal or None,
            is_cut_off=choice.get("finish_reason") == "length",
            usage=TokenUsage(
                prompt_tokens=usage.get("prompt_tokens") or 0,
                completion_tokens=usage.get("completion_tokens") or 0,
                total_tokens=usage.get("total_tokens") or 0,
                cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
            ),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise _server_error(model, f"the answer is no chat completion: {type(error).__name__}") from error


def _bounded(schema: dict[str, Any], max_tokens: int | None) -> dict[str, Any]:
    """Fewer and shorter steps under a token limit, so that the result behind them is reached; a token has a character
    or more."""
    num_steps, num_chars = _MAX_STEPS, _MAX_STEP_CHARS
    if max_tokens is not None:
        num_steps = max(1, min(num_steps, max_tokens // 400))
        num_chars = max(10, min(num_chars, max_tokens // (8 * num_steps)))
    properties = schema["properties"]
    text = {"type": "string", "maxLength": num_chars}
    steps = properties["steps"]
    item = {**steps["items"], "properties": dict.fromkeys(steps["items"]["properties"], text)}
    bounded = {**steps, "maxItems": num_steps, "items": item}
    return {**schema, "properties": {**properties, "steps": bounded}}


def _server_error(model: str, details: str) -> GradeFailure:
    return GradeFailure("model_grader_server_error", f"judge {model}: {details}", details=details)
