"""Rows and answers for the lab, from wherever they are: files, requests, stored rollouts, a model."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.conf import settings

from fettle_graders.errors import GradeFailure, TemplateSyntaxError
from fettle_graders.sample import Sample
from fettle_graders.template import Template, parse_template
from fettle_platform.accounts.scoping import Scope
from fettle_platform.core import strict_json
from fettle_platform.core.errors import InvalidRequest, NotFound
from fettle_platform.core.storage import BlobMissing, get_store
from fettle_platform.datasets import selectors as datasets
from fettle_platform.datasets.lines import Line, iterate_lines
from fettle_platform.datasets.models import File
from fettle_platform.jobs import selectors as jobs
from fettle_platform.jobs.models import Job
from fettle_platform.jobs.rollouts import rollout_places, rollouts_at
from fettle_platform.lab.requests import (
    BaseSource,
    CompletionsSource,
    JobSource,
    ReferenceSource,
    Source,
    refuse_too_many,
)
from fettle_platform.lab.sampling import sample_answers

T = TypeVar("T")

_ROLLOUT_COLUMNS = ("text", "reasoning", "tool_calls", "reward")


@dataclass(frozen=True)
class Answer:
    """One answer as a grader sees it. `reward` is what a stored one was graded then; None: it could not be."""

    sample: Sample
    reward: float | None = None

    @property
    def text(self) -> str:
        return self.sample.output_text


@dataclass(frozen=True)
class Group:
    """The answers to one prompt. `row` counts from 0 in its file, `step` is that of stored answers."""

    row: int
    item: Mapping[str, Any]
    answers: Sequence[Answer] = field(default_factory=list)
    step: int | None = None

    @property
    def prompt(self) -> str:
        """What the user said last."""
        messages = self.item.get("messages")
        last = messages[-1] if isinstance(messages, list) and messages else None
        content = last.get("content") if isinstance(last, Mapping) else None
        return content if isinstance(content, str) else "" if content is None else json.dumps(content)


def template_of(text: str, *, param: str) -> Template:
    """Raises InvalidRequest: it can never be filled in, or it reads the answer it is to write."""
    try:
        template = parse_template(text)
    except TemplateSyntaxError as error:
        raise InvalidRequest(f"{param}: {error}", param=param) from None
    if any(reference.namespace == "sample" for reference in template.references):
        raise InvalidRequest(f"{param}: a right answer is made from the row alone, not from `sample`", param=param)
    return template


def written(template: Template, item: Mapping[str, Any]) -> str | None:
    """The row's right answer; None where the row lacks a field."""
    try:
        return template.render(item, Sample(""))
    except GradeFailure:
        return None


def read_rows(
    scope: Scope, *, file_id: str | None, rows: Sequence[dict[str, Any]] | None, wanted: Sequence[int] | int
) -> list[Group]:
    """Rows of a file or of the request.

    Args:
        wanted: these row numbers, or so many rows spread evenly.

    Raises:
        InvalidRequest: neither or both are given, or a row that is not there.
        NotFound: no such file.
    """
    if (file_id is None) == (rows is None):
        raise InvalidRequest("Give either `file_id` or `rows`.", param="file_id", code="missing_required_parameter")
    if rows is None:
        found = file_rows(datasets.file_get(scope, file_id or ""), wanted)
    else:
        found = dict(enumerate(rows))
    numbers = spread(list(found), wanted) if isinstance(wanted, int) else wanted
    for number in numbers:
        if number not in found:
            raise InvalidRequest(f"Row {number} is not there, or is no JSON object; rows count from 0.", param="row")
    if not numbers:
        raise InvalidRequest(f"{file_id} holds no row: expected one JSON object a line", param="file_id")
    return [Group(number, found[number]) for number in numbers]


def file_rows(file: File, wanted: Sequence[int] | int) -> dict[int, dict[str, Any]]:
    """These rows of a JSON Lines file, or so many spread evenly; lines that are no JSON object are left out.

    Raises:
        NotFound: its bytes are gone.
    """
    if isinstance(wanted, int):
        wanted = spread([line.number - 1 for line in _lines(file) if line.data and line.data.strip()], wanted)
    chosen = set(wanted)
    found: dict[int, dict[str, Any]] = {}
    for line in _lines(file):
        if line.data and line.number - 1 in chosen:
            try:
                row = strict_json.loads(line.data.decode("utf-8-sig"))
            except (strict_json.StrictJSONError, UnicodeDecodeError):
                continue
            if isinstance(row, dict):
                found[line.number - 1] = row
    return found


def _lines(file: File) -> Iterator[Line]:
    try:
        stream = get_store().open(file.store_key)
    except BlobMissing as error:
        raise NotFound(f"The bytes of {file.public_id} are no longer in the store.") from error
    with stream:
        yield from iterate_lines(stream, max_bytes=settings.FETTLE.max_line_bytes)


def spread(values: Sequence[T], count: int) -> list[T]:
    """At most so many of them, evenly, the first and the last among them."""
    if len(values) <= count:
        return list(values)
    step = (len(values) - 1) / max(1, count - 1)
    return [values[round(i * step)] for i in range(count)]


def answered(
    scope: Scope,
    source: Source,
    *,
    file_id: str | None,
    rows: Sequence[dict[str, Any]] | None,
    num_rows: int,
    seed: int,
    param: str = "source",
) -> list[Group]:
    """Groups of answers from a source, at most `num_rows` of them.

    Raises:
        InvalidRequest: the source cannot be used like this.
        NotFound: a file, job or model that is not there.
    """
    if isinstance(source, JobSource):
        if file_id is not None or rows is not None:
            raise InvalidRequest(
                "The rows of a job are those of its own files; leave `file_id` and `rows` out.", param=param
            )
        return stored_groups(scope, source, num_groups=num_rows)
    if isinstance(source, CompletionsSource):
        texts: dict[int, list[Answer]] = {}
        for pasted in source.completions:
            texts.setdefault(pasted.row, []).append(Answer(Sample(pasted.text)))
        groups = read_rows(scope, file_id=file_id, rows=rows, wanted=list(texts))
        return [Group(group.row, group.item, texts[group.row]) for group in groups]
    groups = read_rows(scope, file_id=file_id, rows=rows, wanted=num_rows)
    if isinstance(source, BaseSource):
        refuse_too_many(len(groups) * source.samples_per_row, "rows x samples_per_row", param="num_rows")
        samples = sample_answers(scope, source, [group.item for group in groups], seed=seed)
        return [
            Group(group.row, group.item, [Answer(sample) for sample in answers])
            for group, answers in zip(groups, samples, strict=True)
        ]
    return _references(source, groups, param)


def _references(source: ReferenceSource, groups: Iterable[Group], param: str) -> list[Group]:
    template = template_of(source.template, param=f"{param}.template")
    texts = [(group, written(template, group.item)) for group in groups]
    found = [Group(group.row, group.item, [Answer(Sample(text))]) for group, text in texts if text is not None]
    if not found:
        raise InvalidRequest(
            f"{param}.template: no row has what {source.template[:80]!r} reads", param=f"{param}.template"
        )
    return found


def stored_groups(scope: Scope, source: JobSource, *, num_groups: int) -> list[Group]:
    """Stored answers, whole groups spread evenly over all there are.

    Raises:
        NotFound: no such job, or its files or rollouts are gone.
        InvalidRequest: it has no such answers.
    """
    job = _run(scope, source.job_id)
    places = rollout_places(job, step=source.step, purpose=source.purpose)
    if not places:
        raise InvalidRequest(f"{source.job_id} has no stored answers of that kind yet.", param="source.job_id")
    chosen = spread(list(places), num_groups)
    refuse_too_many(sum(len(places[key]) for key in chosen), "groups x answers", param="num_rows")
    records = rollouts_at([place for key in chosen for place in places[key]], _ROLLOUT_COLUMNS)
    items = {which: _rows_of(job, which, {key[3] for key in chosen}) for which in {key[2] for key in chosen}}
    return [
        Group(row, items[which][row], [_stored(records[place]) for place in places[purpose, step, which, row]], step)
        for purpose, step, which, row in chosen
        if row in items[which]
    ]


def _run(scope: Scope, name: str) -> Job:
    if name.startswith("preflight-"):
        return jobs.preflight_get(scope, name, param="job_id")
    return jobs.job_get(scope, name)


def _rows_of(job: Job, source: str, rows: Collection[int]) -> dict[int, dict[str, Any]]:
    file_id = job.validation_file if source == "validation_file" else job.training_file
    file = File.objects.filter(project_id=job.project_id, public_id=file_id).first()
    if file is None:
        raise NotFound(f"The {source.replace('_', ' ')} of {job.public_id} was deleted: its rows cannot be graded.")
    return file_rows(file, sorted(rows))


def _stored(record: Mapping[str, Any]) -> Answer:
    calls = json.loads(record["tool_calls"]) if record["tool_calls"] else []
    tools = [{"id": f"call_{index}", "type": "function", "function": call} for index, call in enumerate(calls)]
    sample = Sample(output_text=record["text"] or "", output_reasoning=record["reasoning"], output_tools=tools or None)
    return Answer(sample, reward=record["reward"])
