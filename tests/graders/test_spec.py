from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from fettle_graders.errors import GraderSpecError
from fettle_graders.spec import (
    GRADER_TYPES,
    GraderSpec,
    MultiSpec,
    ScoreModelSpec,
    StringCheckSpec,
    item_paths,
    masked,
    missing_item_paths,
    parse_grader,
    unsupported,
)

CHECK = {
    "type": "string_check",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "operation": "eq",
}
JUDGE = {"type": "score_model", "model": "judge", "input": [{"role": "user", "content": "{{sample.output_text}}"}]}


def multi(graders: Any, formula: str = "ok") -> dict[str, Any]:
    return {"type": "multi", "graders": graders, "calculate_output": formula}


def error_of(data: Any) -> GraderSpecError:
    with pytest.raises(GraderSpecError) as caught:
        parse_grader(data)
    return caught.value


def test_name_defaults_to_the_type() -> None:
    assert parse_grader(CHECK).name == "string_check"
    assert parse_grader({**CHECK, "name": "mine"}).name == "mine"


def test_neq_is_another_spelling_of_ne() -> None:
    assert masked(parse_grader({**CHECK, "operation": "neq"}))["operation"] == "ne"


def test_math_reads_the_output_text_by_default() -> None:
    assert masked(parse_grader({"type": "math", "reference": "{{item.answer}}"})) == {
        "type": "math",
        "name": "math",
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
    }


@pytest.mark.parametrize(
    "graders",
    [{"ok": CHECK}, [{**CHECK, "name": "ok"}], {**CHECK, "name": "ok"}],
    ids=["map", "list", "single object"],
)
def test_every_shape_of_multi_becomes_a_map(graders: Any) -> None:
    spec = parse_grader(multi(graders))
    assert isinstance(spec, MultiSpec)
    assert masked(spec)["graders"] == {"ok": {**CHECK, "name": "ok"}}
    assert masked(spec)["name"] == "multi"


def test_parsing_does_not_change_what_was_given() -> None:
    data = multi([{**CHECK, "name": "ok"}])
    before = json.dumps(data)
    parse_grader(data)
    assert json.dumps(data) == before


def test_a_parsed_grader_survives_the_way_through_json() -> None:
    adapter: TypeAdapter[GraderSpec] = TypeAdapter(GraderSpec)
    for data in (CHECK, JUDGE, multi({"ok": CHECK, "far": {"type": "endpoint", "url": "https://g.example/grade"}})):
        spec = parse_grader(data)
        assert adapter.validate_json(adapter.dump_json(spec)) == spec
        assert parse_grader(masked(spec)) == spec


def test_a_spec_cannot_be_changed() -> None:
    spec = parse_grader(CHECK)
    with pytest.raises(ValidationError):
        spec.name = "other"  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(
    ("data", "param", "words"),
    [
        (None, "", ["expected an object", "null"]),
        ([CHECK], "", ["expected an object"]),
        ({}, "type", ["found nothing", *GRADER_TYPES]),
        ({**CHECK, "type": "string_chek"}, "type", ["string_chek", "did you mean string_check", "multi"]),
        ({**CHECK, "type": ["x"]}, "type", ['["x"]']),
        ({**CHECK, "type": "lambda"}, "type", ["lambda", "endpoint"]),
        ({**CHECK, "inptu": 1}, "inptu", ["unknown field", "input"]),
        ({"type": "string_check", "input": "x", "operation": "eq"}, "reference", ["required"]),
        ({**CHECK, "input": 7}, "input", ["string", "7"]),
        ({**CHECK, "operation": "equals"}, "operation", ["'ilike'", "equals"]),
        ({**CHECK, "input": "{{itm.x}}"}, "input", ["itm", "item or sample"]),
        ({**CHECK, "input": "{{item.x"}, "input", ["never closed"]),
        ({**CHECK, "input": "{{sample.text}}"}, "input", ["output_text"]),
        ({**CHECK, "input": "{{sample.output_text.x}}"}, "input", ["text", "output_json"]),
        (multi({"ok": {**CHECK, "input": "{{nope}}"}}), "graders.ok.input", ["nope"]),
        (multi({"ok": {**CHECK, "typ": 1}}), "graders.ok.typ", ["unknown field"]),
        (multi({"ok": {"type": "string_check"}}), "graders.ok.input", ["required"]),
        (multi({"string_check": {**CHECK, "operation": 1}}, "1"), "graders.string_check.operation", ["'eq'"]),
        (multi({"ok": {"type": "fuzzy"}}), "graders.ok.type", ["fuzzy"]),
        (multi({"ok": 3}), "graders.ok", ["object"]),
        (multi({"ok": multi({"ok": CHECK})}), "graders.ok.type", ["another multi"]),
        (multi({}), "graders", ["at least 1"]),
        (multi({"not a name": CHECK}, "1"), "graders", ["not a name", "variable"]),
        (multi({"max": CHECK}, "1"), "graders", ["max", "functions"]),
        (multi([CHECK]), "graders.0.name", ["name"]),
        (multi([{**CHECK, "name": "a"}, {**CHECK, "name": "a"}]), "graders.1.name", ["two graders"]),
        (multi("ok"), "graders", ["map"]),
        (multi({"ok": CHECK}, "ok +"), "calculate_output", ["end of the formula", "character 5"]),
        (multi({"ok": CHECK}, "ok * fine"), "calculate_output", ["fine", "ok"]),
        ({"type": "multi", "calculate_output": "1"}, "graders", ["required"]),
        ({**JUDGE, "range": [1, 0]}, "range", ["smaller"]),
        ({**JUDGE, "range": [0, float("inf")]}, "range.1", ["finite"]),
        ({**JUDGE, "input": []}, "input", ["at least 1"]),
        ({**JUDGE, "input": [{"role": "tool", "content": "x"}]}, "input.0.role", ["developer"]),
        (
            {**JUDGE, "input": [{"role": "user", "content": [{"type": "input_text", "text": "{{x}}"}]}]},
            "input.0.content.0.text",
            ["item or sample"],
        ),
        ({**JUDGE, "sampling_params": {"max_tokens": 5}}, "sampling_params.max_tokens", ["unknown field"]),
        (
            {**JUDGE, "type": "label_model", "labels": ["good"], "passing_labels": ["fine"]},
            "passing_labels",
            ["fine", "good"],
        ),
        ({"type": "python", "source": "#" * 256 * 1024}, "source", ["262144"]),
        ({"type": "endpoint", "url": "ftp://x/y"}, "url", ["http"]),
        ({"type": "endpoint", "url": "https://u:p@x/y"}, "url", ["headers"]),
        ({"type": "endpoint", "url": "https://x", "headers": {"A": "b\r\nC: d"}}, "headers", ["line break"]),
        ({"type": "endpoint", "url": "https://x", "rate_limit": 0}, "rate_limit", ["greater than 0"]),
    ],
)
def test_what_is_wrong_is_named(data: Any, param: str, words: list[str]) -> None:
    error = error_of(data)
    assert error.param == param
    for word in words:
        assert word in error.message


def test_secrets_are_neither_shown_nor_put_into_errors() -> None:
    endpoint = {"type": "endpoint", "url": "https://x/y", "headers": {"Authorization": "Bearer s3cret"}}
    for data in (endpoint, multi({"ok": endpoint})):
        spec = parse_grader(data)
        assert "s3cret" not in json.dumps(masked(spec)) + repr(spec)
        assert '"Authorization": "**********"' in json.dumps(masked(spec))
        assert "s3cret" in spec.model_dump_json()
    assert "s3cret" not in error_of({**endpoint, "headers": {"Authorization": ["s3cret"]}}).message
    assert "s3cret" not in error_of({**endpoint, "headers": {"Authorization": "s3cret\n"}}).message


def test_every_field_of_the_later_kinds_is_read_and_kept() -> None:
    judge = {
        "type": "score_model",
        "name": "judge",
        "model": "judge-1",
        "input": [
            {"role": "developer", "type": "message", "content": {"type": "input_text", "text": "Rate."}},
            {
                "role": "user",
                "content": [
                    "{{item.question}}",
                    {"type": "output_text", "text": "{{sample.output_text}}"},
                    {"type": "input_image", "image_url": "{{item.image}}", "detail": "low"},
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                ],
            },
        ],
        "range": [0.0, 10.0],
        "sampling_params": {"seed": 1, "top_p": 1.0, "temperature": 0.0, "max_completions_tokens": 9},
        "pass_threshold": 5.0,
    }
    spec = parse_grader(judge)
    assert isinstance(spec, ScoreModelSpec)
    assert masked(spec) == judge
    assert item_paths(spec) == ["item.image", "item.question"]
    python = {"type": "python", "name": "p", "source": "def grade(sample, item): return 1", "image_tag": "2025-05-08"}
    assert masked(parse_grader(python)) == python
    endpoint = {"type": "endpoint", "name": "e", "url": "https://x/y", "rate_limit": 5.0, "pass_threshold": 0.5}
    assert masked(parse_grader(endpoint)) == endpoint


def test_the_singular_of_max_completions_tokens_is_accepted() -> None:
    spec = parse_grader({**JUDGE, "sampling_params": {"max_completion_tokens": 5}})
    assert masked(spec)["sampling_params"] == {"max_completions_tokens": 5}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (JUDGE, "judge model"),
        ({**JUDGE, "type": "label_model", "labels": ["a"], "passing_labels": ["a"]}, "judge model"),
        ({"type": "python", "source": "x"}, "sandbox"),
        ({"type": "endpoint", "url": "https://x/y"}, "outgoing calls"),
        (
            {"type": "text_similarity", "input": "a", "reference": "b", "evaluation_metric": "cosine"},
            "embedding model",
        ),
        (multi({"ok": CHECK, "judge": JUDGE}), "grader 'judge'"),
    ],
)
def test_what_cannot_run_says_why_and_what_to_use(data: dict[str, Any], words: str) -> None:
    reason = unsupported(parse_grader(data), ())
    assert reason is not None
    assert words in reason
    assert "use " in reason


def test_what_can_run_has_no_reason() -> None:
    assert unsupported(parse_grader(CHECK), ()) is None
    assert unsupported(parse_grader(multi({"ok": CHECK})), ()) is None


def test_item_paths_are_sorted_and_each_once() -> None:
    spec = parse_grader(
        multi(
            {
                "ok": {**CHECK, "reference": "{{item.meta.tags[0]}} {{ item.answer }}"},
                "near": {**CHECK, "input": "{{sample.output_json.x}}", "reference": '{{item["a key"]}}{{item.answer}}'},
            }
        )
    )
    assert item_paths(spec) == ["item.answer", "item.meta.tags[0]", 'item["a key"]']
    assert missing_item_paths(spec, {"answer": "", "meta": {"tags": []}}) == ["item.meta.tags[0]", 'item["a key"]']
    assert missing_item_paths(spec, {"answer": None, "a key": 1, "meta": {"tags": ["x"]}}) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
FIELDS = st.dictionaries(
    st.sampled_from(["name", "input", "reference", "operation", "graders", "calculate_output", "headers", "url"]), JSON
)


@given(st.sampled_from(GRADER_TYPES), FIELDS)
def test_any_json_is_a_grader_or_a_named_error(kind: str, fields: dict[str, Any]) -> None:
    try:
        spec = parse_grader({**fields, "type": kind})
    except GraderSpecError:
        return
    assert parse_grader(spec.model_dump(mode="json")) == spec


def test_the_error_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(error_of({**CHECK, "input": 1})))
    assert (error.param, "string" in error.message) == ("input", True)


def test_a_spec_alone_applies_the_same_rules() -> None:
    with pytest.raises(ValidationError, match="item or sample"):
        StringCheckSpec(type="string_check", input="{{x}}", reference="", operation="eq", name="a")
