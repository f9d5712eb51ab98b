from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fettle_graders.errors import GradeFailure, TemplateSyntaxError
from fettle_graders.sample import Sample
from fettle_graders.template import MAX_RENDERED_CHARS, Reference, parse_template

ITEM: dict[str, Any] = {
    "answer": "42",
    "a": {"b": [{"c": "deep"}, 7]},
    "null": None,
    "flag": True,
    "ratio": 0.5,
    "größe": "é",
    "with space": "quoted",
    "kebab-key": "k",
    "0": "zero",
}


def render(template: str, sample: Sample | None = None, item: dict[str, Any] | None = None) -> str:
    return parse_template(template).render(ITEM if item is None else item, sample or Sample("out"))


def failure(template: str, sample: Sample | None = None, item: dict[str, Any] | None = None) -> GradeFailure:
    with pytest.raises(GradeFailure) as caught:
        render(template, sample, item)
    return caught.value


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("", ""),
        ("plain", "plain"),
        ("{{item.answer}}", "42"),
        ("{{  item.answer\n}}!", "42!"),
        ("a {{item.answer}} b {{item.answer}}", "a 42 b 42"),
        ("{{item.a.b[0].c}}", "deep"),
        ("{{item.a.b[1]}}", "7"),
        ("{{item.a.b[0]}}", '{"c": "deep"}'),
        ("{{item.null}}", "null"),
        ("{{item.flag}}", "true"),
        ("{{item.ratio}}", "0.5"),
        ("{{item.größe}}", "é"),
        ('{{item["with space"]}}', "quoted"),
        ("{{item.kebab-key}}", "k"),
        ("{{item.0}}", "zero"),
        ("{{sample.output_text}}", "out"),
        ("{{sample.output_tools}}", "[]"),
        ("{single} }} } {", "{single} }} } {"),
        ('{"a": {"b": 1}}', '{"a": {"b": 1}}'),
    ],
)
def test_references_are_filled_in(template: str, expected: str) -> None:
    assert render(template) == expected


def test_the_whole_item_is_rendered_as_json() -> None:
    assert json.loads(render("{{item}}")) == ITEM


def test_every_field_of_a_sample() -> None:
    sample = Sample(
        '{"x": [1, {"y": "z"}]}',
        output_reasoning="hm",
        output_tools=[{"function": {"name": "f", "arguments": "{}"}}],
        choices=[{"message": {"content": "c"}}],
    )
    assert render("{{sample.output_json.x[1].y}}", sample) == "z"
    assert render("{{sample.output_json}}", sample) == '{"x": [1, {"y": "z"}]}'
    assert render("{{sample.output_reasoning}}", sample) == "hm"
    assert render("{{sample.output_tools[0].function.name}}", sample) == "f"
    assert render("{{sample.choices[0].message.content}}", sample) == "c"


def test_a_given_output_json_is_not_parsed_again() -> None:
    assert render("{{sample.output_json}}", Sample("not json", output_json=None)) == "null"


@pytest.mark.parametrize("hostile", ["{{item.answer}}", "{{ sample.output_text }}", "{{", "}}", "{{{{item.answer}}}}"])
def test_a_completion_is_never_expanded(hostile: str) -> None:
    assert render("[{{sample.output_text}}]", Sample(hostile)) == f"[{hostile}]"
    assert render("{{item.x}}", item={"x": hostile}) == hostile
    # Nor do two pieces make a reference together.
    assert render("{{sample.output_text}}{{item.x}}", Sample("{{item.x"), {"x": "}}"}) == "{{item.x}}"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{item.missing}}", "missing"),
        ("{{item.a.b[2]}}", "2 entries"),
        ("{{item.a.b.c}}", "list"),
        ("{{item.answer.x}}", "str"),
        ("{{item.answer[0]}}", "str"),
        ("{{item.null.x}}", "NoneType"),
        ("{{item.a[0]}}", "no field 0"),
        ("{{sample.output_reasoning}}", "no output_reasoning"),
        ("{{sample.output_tools[0]}}", "0 entries"),
        ("{{sample.choices}}", "no choices"),
    ],
)
def test_an_unknown_path_is_an_invalid_variable(template: str, words: str) -> None:
    error = failure(template)
    assert error.flag == "invalid_variable_error"
    assert words in error.message


def test_a_key_missing_in_the_output_is_an_invalid_variable() -> None:
    assert failure("{{sample.output_json.y}}", Sample('{"x": 1}')).flag == "invalid_variable_error"


@pytest.mark.parametrize(
    "text",
    ["", "no json", "{", '{"a": NaN}', "Infinity", "-Infinity", "1e999", "9" * 5000, "[" * 100_000, '{"a":' * 100_000],
    ids=lambda text: text[:12],
)
def test_unparseable_output_is_a_sample_parse_error(text: str) -> None:
    assert failure("{{sample.output_json}}", Sample(text)).flag == "sample_parse_error"


def test_values_that_json_cannot_spell_fail_the_grade_only() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert failure("{{item.x}}", item={"x": nested}).flag == "other_error"
    assert failure("{{item.x}}", item={"x": 10**5000}).flag == "other_error"
    assert failure("{{item.x}}", item={"x": {1, 2}}).flag == "other_error"
    while nested:  # take it apart by hand: freeing it whole recurses too
        nested = nested.pop()


def test_odd_but_valid_values() -> None:
    assert render("{{item.x}}", item={"x": float("nan")}) == "NaN"
    assert render("{{item.x}}", item={"x": 10**400}) == "1" + "0" * 400
    assert render("{{sample.output_json}}", Sample('"\\ud800"')) == "\ud800"


def test_the_size_of_a_filled_in_template_is_bounded() -> None:
    assert len(render("{{sample.output_text}}", Sample("x" * MAX_RENDERED_CHARS))) == MAX_RENDERED_CHARS
    assert failure("{{sample.output_text}}!", Sample("x" * MAX_RENDERED_CHARS)).flag == "other_error"


@pytest.mark.parametrize(
    "template",
    [
        "{{",
        "{{}}",
        "{{ }}",
        "{{answer}}",
        "{{items.x}}",
        "{{item.}}",
        "{{item..a}}",
        "{{item.a b}}",
        "{{item[-1]}}",
        "{{item[x]}}",
        "{{item.a | upper}}",
        "{{item.a|upper}}",
        "{{item.a+1}}",
        "{{item.a}",
        "{{sample}}",
        "{{sample.output}}",
        "{{sample[0]}}",
        "{{sample.output_text[0]}}",
        "{{item" + ".a" * 51 + "}}",
        "x" * 100_001,
        "{{ item['a'] }}",
        "{{1+1}}",
        "{{item.__class__()}}",
    ],
)
def test_references_that_can_never_work_are_refused(template: str) -> None:
    with pytest.raises(TemplateSyntaxError):
        parse_template(template)


def test_python_attributes_are_out_of_reach() -> None:
    assert failure("{{item.__class__}}").flag == "invalid_variable_error"
    assert failure("{{sample.output_json.__len__}}", Sample("[]")).flag == "invalid_variable_error"


def test_a_reference_is_spelled_as_it_is_read() -> None:
    for text in ("item.a.b[0]", 'item["a key"].b', "sample.output_json[3].x"):
        assert str(parse_template("{{" + text + "}}").references[0]) == text


KEYS = st.text(st.characters(exclude_characters='"{}', exclude_categories=("Cs",)), max_size=8)


@given(st.lists(KEYS | st.integers(0, 999), max_size=5))
def test_every_path_is_read_back_as_it_was_spelled(path: list[str | int]) -> None:
    reference = Reference("item", tuple(path))
    assert parse_template(f"{{{{ {reference} }}}}").references == (reference,)


@given(st.text(alphabet=st.sampled_from('{} item.sample[0]"output_textjson|+\n\\é')), st.text())
def test_no_template_crashes(template: str, output: str) -> None:
    try:
        parsed = parse_template(template)
    except TemplateSyntaxError:
        return
    with contextlib.suppress(GradeFailure):
        parsed.render(ITEM, Sample(output))


@given(st.text(), st.text(), st.text())
def test_filled_in_text_stays_as_it_is(before: str, output: str, after: str) -> None:
    before, after = before.replace("{", "<"), after.replace("{", "<")
    assert render(before + "{{sample.output_text}}" + after, Sample(output)) == before + output + after


@given(st.text(alphabet='[]{}:,"\\0123456789.eE+-nulltrefasINa \ud800', max_size=60))
def test_output_json_is_a_value_or_a_sample_parse_error(text: str) -> None:
    try:
        value = Sample(text).parsed_json()
    except GradeFailure:
        return
    assert json.loads(text) == value
