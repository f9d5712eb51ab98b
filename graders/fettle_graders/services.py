"""What graders need from outside, as ports.

This library opens no socket and loads no model: whoever compiles a grader passes in what it may use, and a kind whose
service is missing is refused before anything is graded (`spec.unsupported`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field

from fettle_graders.math_process import shared_math_score
from fettle_graders.sandbox.tenant import CodeSandbox

Service = Literal["judge", "http", "embedder", "scorer", "sandbox"]

TextScore = Callable[[str, str], float]
"""(input, reference), both filled in, to a score. Raises GradeFailure."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TokenUsage(_Frozen):
    """Tokens a judge model has read and written."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(**{name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields})


def total_usage(parts: Iterable[Mapping[str, TokenUsage]]) -> dict[str, TokenUsage]:
    """By model, over all the parts."""
    total: dict[str, TokenUsage] = {}
    for model, tokens in (entry for part in parts for entry in part.items()):
        total[model] = total.get(model, TokenUsage()) + tokens
    return total


class JudgeRequest(_Frozen):
    """One question to a judge model.

    Attributes:
        messages: in the shape of chat completions, every template filled in.
        json_schema: what the answer has to be; a server that can constrain its output does.
        sampling: `seed`, `temperature`, `top_p`, `max_completion_tokens`, `reasoning_effort`; only what was set.
    """

    model: str
    messages: tuple[dict[str, Any], ...]
    json_schema: dict[str, Any]
    sampling: dict[str, Any] = Field(default_factory=dict)


class JudgeAnswer(_Frozen):
    """What the judge said. `model` is the name by which its tokens are counted."""

    text: str
    model: str
    refusal: str | None = None
    is_cut_off: bool = False
    usage: TokenUsage = TokenUsage()


class Judge(Protocol):
    """A judge model: one this platform serves, or one behind an endpoint that the operator allowed."""

    def ask(self, request: JudgeRequest) -> JudgeAnswer:
        """Raises GradeFailure with `model_grader_server_error`: no answer, after all the retries there are."""
        ...


class RemoteGrader(Protocol):
    """Posts JSON to a URL that a user wrote."""

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> bytes:
        """The body of a 2xx answer.

        Raises:
            GradeFailure: `unresponsive_reward_error` or `other_error`, after all the retries there are. No message
                holds a header's value.
        """
        ...


class Embedder(Protocol):
    """Texts to vectors of one length, one for each."""

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]: ...


class Scorer(Protocol):
    """Reward models: a number for a text, from a model directory that the operator offers under a name."""

    def score(self, model: str, texts: Sequence[str]) -> list[float]:
        """One number for each text, as the model's head gives it.

        Raises:
            GradeFailure: `model_grader_server_error`, no such model or it cannot be loaded.
        """
        ...


@dataclass(frozen=True)
class Services:
    """What a grader may use. Everything in it may be called from many threads.

    Attributes:
        math: compares mathematical answers in bounded time; by default in the one child that this process shares.
        sandbox: runs the code of one organization's users and models.
    """

    math: TextScore = shared_math_score
    judge: Judge | None = None
    http: RemoteGrader | None = None
    embedder: Embedder | None = None
    scorer: Scorer | None = None
    sandbox: CodeSandbox | None = None

    @property
    def available(self) -> frozenset[str]:
        """Which of `Service` are there."""
        return frozenset(entry.name for entry in fields(self) if getattr(self, entry.name) is not None)
