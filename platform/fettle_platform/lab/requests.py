"""What the lab is asked, read strictly. Bounds keep a call short enough to wait for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from fettle_platform.core.errors import InvalidRequest
from fettle_workers.contract.frozen import Frozen

MAX_ROWS = 500
MAX_ANSWERS = 2000
MAX_TEXT_CHARS = 200_000

Text = Annotated[str, Field(max_length=MAX_TEXT_CHARS)]
Id = Annotated[str, Field(min_length=1, max_length=64)]
Rows = Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_ROWS)]
NumRows = Annotated[int, Field(ge=1, le=MAX_ROWS)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
# Any JSON value, hence `Any`: `graders.stored.grader_resolve` reads it.
GraderOrId = Annotated[Any, Field(description="a definition, or the id of a stored grader or of one of its versions")]


class ReferenceSource(Frozen):
    """The rows' own right answers, each written by a template such as `{{item.answer}}`."""

    type: Literal["reference"]
    template: Annotated[str, Field(min_length=1, max_length=10_000)]


class Pasted(Frozen):
    row: Annotated[int, Field(ge=0)]
    text: Text


class CompletionsSource(Frozen):
    """Answers that the caller brings; `row` counts from 0 in the file or in `rows`."""

    type: Literal["completions"]
    completions: Annotated[list[Pasted], Field(min_length=1, max_length=MAX_ANSWERS)]


class JobSource(Frozen):
    """Stored answers of a job or a preflight, whose rows are those of its own files."""

    type: Literal["job"]
    job_id: Id
    purpose: Literal["train", "eval", "final", "report", "preflight"] | None = None
    step: Annotated[int, Field(ge=0)] | None = None


class BaseSource(Frozen):
    """Fresh answers of a model that the caller may ask."""

    type: Literal["base"]
    model: Annotated[str, Field(min_length=1, max_length=440)]
    samples_per_row: Annotated[int, Field(ge=1, le=16)] = 4
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    max_completion_tokens: Annotated[int, Field(ge=1, le=8192)] = 512


Source = Annotated[ReferenceSource | CompletionsSource | JobSource | BaseSource, Field(discriminator="type")]


class TestRequest(Frozen):
    """`gold` writes the answer that has to score at the top; without it nothing is said about that."""

    grader: GraderOrId
    source: Source
    file_id: Id | None = None
    rows: Rows | None = None
    num_rows: NumRows = 50
    gold: Annotated[str, Field(min_length=1, max_length=10_000)] | None = None
    seed: Seed = 0


class RedTeamRequest(Frozen):
    """Honest answers are those of `honest`, else the right answers that `gold` writes."""

    grader: GraderOrId
    file_id: Id | None = None
    rows: Rows | None = None
    num_rows: NumRows = 20
    gold: Annotated[str, Field(min_length=1, max_length=10_000)] | None = None
    honest: Source | None = None
    seed: Seed = 0


class RegradeRequest(Frozen):
    grader: GraderOrId
    job_id: Id
    purpose: Literal["train", "eval", "final", "report", "preflight"] | None = None
    step: Annotated[int, Field(ge=0)] | None = None
    num_groups: Annotated[int, Field(ge=1, le=MAX_ROWS)] = 100
    seed: Seed = 0


class RatedAnswer(Frozen):
    """`label` is what a person gave the answer, on any scale; higher is better."""

    item: dict[str, Any]
    text: Text
    label: float


class CalibrateRequest(Frozen):
    grader: GraderOrId
    answers: Annotated[list[RatedAnswer], Field(min_length=2, max_length=MAX_ROWS)]
    repeats: Annotated[int, Field(ge=1, le=10)] = 2
    label_threshold: float | None = None
    score_threshold: float | None = None
    seed: Seed = 0


def refuse_too_many(count: int, what: str, *, param: str) -> None:
    """Raises InvalidRequest: more gradings than one waits for."""
    if count > MAX_ANSWERS:
        raise InvalidRequest(
            f"This asks for {count} gradings ({what}); at most {MAX_ANSWERS} while one waits. Lower `{param}`, or look "
            "with a preflight, which runs on a worker.",
            param=param,
        )
