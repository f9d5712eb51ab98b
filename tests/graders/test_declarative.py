"""`json_schema`, `regex` and `format`: scores with their arithmetic, definitions that are refused, and bounded time."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from fettle_graders.compile import compile_grader
from fettle_graders.errors import GraderSpecError
from fettle_graders.json_schema import schema_checker
from fettle_graders.sample import Sample
from fettle_graders.spec import parse_grader

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 1}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def schema(json_schema: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": json_schema, **fields}


@pytest.mark.parametrize(
    ("text", "score", "words"),
    [
        ('{"name": "Ada", "age": 36}', 1.0, None),
        ('{"name": "Ada", "age": "36"}', 0.0, "$.age: '36' is not of type 'integer'"),
        ('{"name": "Ada"}', 0.0, "'age' is a required property"),
        ('{"name": "", "age": 1}', 0.0, "$.name"),
        ('{"name": "Ada", "age": 1, "x": 1}', 0.0, "'x' is not allowed"),
        ("[]", 0.0, "not of type 'object'"),
    ],
)
def test_an_answer_is_valid_or_not_and_the_place_is_named(grade, text: str, score: float, words: str | None) -> None:
    result = grade(schema(PERSON), {}, text)
    assert (result.score, result.errors.raised()) == (score, ())
    assert result.message is None if words is None else words in result.message


@pytest.mark.parametrize("text", ["Ada, 36", "", "{'name': 1}", "NaN", "[" * 100_000])
def test_no_json_is_a_wrong_answer_with_its_flag(grade, text: str) -> None:
    result = grade(schema(PERSON), {}, text)
    assert (result.score, result.errors.raised()) == (0.0, ("sample_parse_error",))


def test_another_text_than_the_answer_can_be_checked(grade) -> None:
    spec = schema({"type": "integer"}, input="{{sample.output_json.n}}")
    assert grade(spec, {}, '{"n": 3}').score == 1.0
    assert grade(spec, {}, '{"n": 3.5}').score == 0.0


def test_references_inside_the_schema_are_followed(grade) -> None:
    tree = {"$ref": "#/$defs/t", "$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}}
    assert grade(schema(tree), {}, "[[], [[]]]").score == 1.0
    assert grade(schema(tree), {}, "[[], [1]]").score == 0.0


@pytest.mark.parametrize(
    ("json_schema", "words"),
    [
        ({"type": "strnig"}, "not a JSON Schema"),
        ({"properties": []}, "$.properties"),
        ({"pattern": "(?=a)"}, "RE2"),
        ({"patternProperties": {"(a)\\1": {}}}, "RE2"),
        ({"$ref": "#/$defs/nowhere"}, "leads nowhere"),
        ({"$ref": "https://example.com/schema.json"}, "nothing is fetched"),
        ({"$ref": "file:///etc/passwd"}, "nothing is fetched"),
        ({"unevaluatedProperties": False}, "not supported"),
        ({"enum": ["x" * 100_000]}, "at most"),
        ("object", ""),
    ],
)
def test_a_schema_that_cannot_work_is_refused(json_schema: Any, words: str) -> None:
    with pytest.raises(GraderSpecError, match=None) as caught:
        parse_grader(schema(json_schema))
    assert caught.value.param.startswith("json_schema")
    assert words in caught.value.message


def test_patterns_take_linear_time(grade) -> None:
    """Python's engine needs 2^40 steps for this."""
    start = time.monotonic()
    assert grade(schema({"pattern": "^(a+)+$"}), {}, json.dumps("a" * 40 + "b")).score == 0.0
    assert grade(schema({"patternProperties": {"^(a+)+$": False}}), {}, json.dumps({"a" * 40 + "b": 1})).score == 1.0
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("json_schema", "text", "words"),
    [
        ({"anyOf": [{"items": {"$ref": "#"}}] * 6, "not": {"const": 1}}, "[" * 30 + "1" + "]" * 30, "steps"),
        ({"$ref": "#"}, "1", "without end"),
    ],
)
def test_a_schema_that_explodes_fails_the_grade(grade, json_schema: Any, text: str, words: str) -> None:
    start = time.monotonic()
    result = grade(schema(json_schema), {}, text)
    assert (result.score, result.errors.raised()) == (None, ("other_error",))
    assert words in result.message
    assert time.monotonic() - start < 20


def test_unique_items_of_a_long_list_are_found_fast(grade) -> None:
    start = time.monotonic()
    rows = [{"n": n} for n in range(10_000)]
    assert grade(schema({"uniqueItems": True}), {}, json.dumps(rows)).score == 1.0
    assert grade(schema({"uniqueItems": True}), {}, json.dumps([*rows, {"n": 5.0}])).score == 0.0
    assert grade(schema({"uniqueItems": True}), {}, "[1, true]").score == 1.0
    assert time.monotonic() - start < 10


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, "", "a", "ab"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
SCHEMAS = st.recursive(
    st.sampled_from(
        [True, {}, {"type": "integer"}, {"type": ["string", "null"]}, {"pattern": "^a"}, {"minimum": 0},
         {"uniqueItems": True}, {"enum": [1, "a", None]}, {"const": 1}, {"required": ["a"]}, {"maxItems": 1}]
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"items": inner}),
        st.fixed_dictionaries({"properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2)}),
        st.builds(
            lambda known, patterns, extra: {
                "properties": known, "patternProperties": patterns, "additionalProperties": extra
            },
            st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
            st.dictionaries(st.sampled_from(["^a", "b$", "c"]), inner, max_size=2),
            inner | st.just(False),
        ),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=6,
)  # fmt: skip


@given(SCHEMAS, VALUES)
def test_the_bounded_validator_agrees_with_the_packages_own(json_schema: Any, value: Any) -> None:
    assert (schema_checker(json_schema)(value) is None) == Draft202012Validator(json_schema).is_valid(value)


def regex(pattern: str, **fields: Any) -> dict[str, Any]:
    return {"type": "regex", "pattern": pattern, **fields}


@pytest.mark.parametrize(
    ("spec", "text", "score"),
    [
        (regex(r"\d+"), "it is 42", 1.0),
        (regex(r"\d+"), "none", 0.0),
        (regex(r"\d+", match="fullmatch"), "42", 1.0),
        (regex(r"\d+", match="fullmatch"), "42\n", 0.0),
        (regex(r"(?i)yes"), "YES", 1.0),
        (regex(r"#### (-?\d+)", reference="{{item.answer}}"), "so\n#### 42", 1.0),
        (regex(r"#### (-?\d+)", reference="{{item.answer}}"), "so\n#### 41", 0.0),
        (regex(r"(?s).*#### (\d+)", reference="{{item.answer}}"), "#### 1\n#### 42", 1.0),
        (regex(r"\d+", reference="{{item.answer}}"), "it is 42", 1.0),
        (regex(r"(\d+) (?P<unit>\w+)", group="unit", reference="m"), "5 m", 1.0),
        (regex(r"(\d+) (\w+)", group=2, reference="m"), "5 km", 0.0),
        (regex(r"(\d+) (\w+)", group=0, reference="5 m"), "5 m", 1.0),
        (regex(r"a|(b)", reference=""), "a", 0.0),
        (regex(r"日+"), "毎日", 1.0),
        (regex(r"\d+", input="{{sample.output_json.n}}"), '{"n": 7}', 1.0),
    ],
)
def test_patterns_and_what_they_capture(grade, spec: dict[str, Any], text: str, score: float) -> None:
    result = grade(spec, {"answer": "42"}, text)
    assert (result.score, result.errors.raised()) == (score, ())


@pytest.mark.parametrize(
    ("spec", "param", "words"),
    [
        (regex("(?=a)"), "pattern", "look-around"),
        (regex(r"(a)\1"), "pattern", "back-references"),
        (regex("("), "pattern", "missing"),
        (regex(""), "pattern", "at least 1"),
        (regex("((a{1,1000}){1,1000})"), "pattern", "RE2"),
        (regex("a", group=1), "", "reference, which is missing"),
        (regex("a", group=1, reference="a"), "", "no group 1"),
        (regex("(?P<x>a)", group="y", reference="a"), "", "named: x"),
        (regex("a", match="start"), "match", "search"),
    ],
)
def test_a_pattern_that_cannot_work_is_refused(spec: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(GraderSpecError) as caught:
        parse_grader(spec)
    assert caught.value.param == param
    assert words in caught.value.message


def test_a_pattern_takes_linear_time_and_a_text_has_a_limit(grade) -> None:
    start = time.monotonic()
    assert grade(regex("(a+)+$"), {}, "a" * 100_000 + "b").score == 0.0
    assert time.monotonic() - start < 5
    too_long = grade(regex("a"), {}, "a" * 200_001)
    assert (too_long.score, too_long.errors.raised()) == (None, ("other_error",))


@given(st.text(max_size=20), st.text(max_size=40))
def test_no_pattern_and_no_text_stop_the_host(pattern: str, text: str) -> None:
    try:
        spec = parse_grader(regex(pattern, reference=text))
    except GraderSpecError:
        return
    result = compile_grader(spec).grade({}, Sample(text))
    assert result.score in (0.0, 1.0) or result.errors.raised() == ("invalid_variable_error",)


def rules(**fields: Any) -> dict[str, Any]:
    return {"type": "format", **fields}


@pytest.mark.parametrize(
    ("spec", "text", "score"),
    [
        (rules(thinking_tags=["<think>", "</think>"]), "<think>two and two</think> 4", 1.0),
        (rules(thinking_tags=["<think>", "</think>"]), "<think>two and two", 0.0),
        (rules(thinking_tags=["<think>", "</think>"]), "<think> </think> 4", 0.0),
        (rules(thinking_tags=["<think>", "</think>"]), "<think>a</think>", 0.0),
        (rules(thinking_tags=["<think>", "</think>"]), "</think>a<think> 4", 0.0),
        (rules(thinking_tags=["<think>", "</think>"]), "<think>a</think> <think>b</think> 4", 0.0),
        (rules(thinking_tags=["<think>", "</think>"]), "so: <think>a</think> 4", 0.0),
        (rules(boxed=True), r"\boxed{4}", 1.0),
        (rules(boxed=True), r"\boxed{4", 0.0),
        (rules(boxed=True), r"\boxed{}", 0.0),
        (rules(min_chars=2, max_chars=3), "abc", 1.0),
        (rules(min_chars=2, max_chars=3), "a", 0.5),
        (rules(min_words=2, max_words=2), "a  b\n", 1.0),
        (rules(max_words=2), "a b c", 0.0),
        (rules(required=["Answer:", "{{item.unit}}"], forbidden=["sorry"]), "Answer: 5 m", 1.0),
        (rules(required=["Answer:", "{{item.unit}}"], forbidden=["sorry"]), "Answer: sorry", 1 / 3),
        # 1 boxed of {boxed, max_chars, required}: 1/3.
        (rules(boxed=True, max_chars=5, required=["y"]), r"\boxed{4} and more", 1 / 3),
    ],
)
def test_each_rule_weighs_the_same(grade, spec: dict[str, Any], text: str, score: float) -> None:
    result = grade(spec, {"unit": "m"}, text)
    assert result.score == pytest.approx(score)
    assert (result.message is None) == (score == 1.0)


def test_thinking_that_the_template_tells_apart_needs_no_tags(grade) -> None:
    spec = rules(thinking_tags=["<think>", "</think>"])
    assert grade(spec, {}, "4", output_reasoning="two and two").score == 1.0
    assert grade(spec, {}, "", output_reasoning="two and").score == 0.0


@pytest.mark.parametrize(
    ("spec", "param", "words"),
    [
        (rules(), "", "no rule"),
        (rules(min_chars=5, max_chars=4), "", "no answer keeps both"),
        (rules(max_words=-1), "max_words", "greater"),
        (rules(thinking_tags=["<think>"]), "thinking_tags.1", "required"),
        (rules(thinking_tags=["", "x"]), "thinking_tags.0", "at least 1"),
        (rules(required=["{{itm.x}}"]), "required.0", "itm"),
        (rules(boxed=False), "boxed", "True"),
    ],
)
def test_rules_that_cannot_work_are_refused(spec: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(GraderSpecError) as caught:
        parse_grader(spec)
    assert caught.value.param == param
    assert words in caught.value.message
