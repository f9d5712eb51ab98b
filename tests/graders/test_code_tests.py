"""Reading tests and comparing answers; no program runs here."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fettle_graders.code_grader import extract_program
from fettle_graders.code_tests import prepare_tests, same_output, same_value
from fettle_graders.errors import GraderSpecError
from fettle_graders.kinds.code import read_tests
from fettle_graders.sandbox.jail import values
from fettle_graders.spec import parse_grader


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        (1, 1, True),
        (1, 1.0, True),
        (1, True, False),
        (True, True, True),
        (0, False, False),
        (0, None, False),
        (None, None, True),
        (0.1, 0.1 + 1e-9, True),
        (0.1, 0.2, False),
        (1, 2, False),
        (10**400, 1.0, False),
        (10**400, 10**400, True),
        ("1", 1, False),
        ([1, 2], [1, 2], True),
        ([1, 2], (1, 2), False),
        ([1, 2], [1, 2, 3], False),
        ([1, [2.0]], [1, [2]], True),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {"b": 1}, False),
        (frozenset({1, 2}), frozenset({2, 1}), True),
        (frozenset({1}), frozenset({True}), False),
        ([1], values.Opaque("X"), False),
    ],
)
def test_values_are_the_same_by_type_and_value(expected: Any, found: Any, same: bool) -> None:
    assert same_value(expected, found, 1e-6) is same


def test_where_json_has_no_such_type_a_tuple_is_a_list_and_a_key_its_text() -> None:
    assert same_value([1, [2]], (1, (2,)), 0, is_json=True)
    assert same_value({"1": "a"}, {1: "a"}, 0, is_json=True)
    assert not same_value([1], frozenset({1}), 0, is_json=True)


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        ("1\n2\n", "1\n2", True),
        ("1  \n2", "1\n2\n\n", True),
        ("1 2", "1\n2", False),
        ("0.5", "0.50000001", True),
        ("0.5 x", "0.6 x", False),
        ("5", "5.0", False),
        ("yes", "Yes", False),
        ("a b", "a  b", True),
        ("0.5", "nan", False),
        ("0.5", "1" * 5000, False),
        ("", "", True),
    ],
)
def test_printed_texts_are_compared_line_by_line(expected: str, found: str, same: bool) -> None:
    assert same_output(expected, found, 1e-6) is same


@pytest.mark.parametrize(
    "value",
    [None, True, 3, -0.5, "é\ud83d", [1, (2, "x")], {1, 2}, {(1, 2): [3]}, b"\0\xff", math.inf, {"t": [1]}, 10**300],
)
def test_values_come_back_as_they_were(value: object) -> None:
    assert values.load(values.dump(value)) == value


@pytest.mark.parametrize(
    "text", ["", "{}", '{"t": 1}', '{"d": [1]}', "[" * 10_000, "9" * 5000, '{"b": "zz"}', '{"a":1,"b":2}']
)
def test_no_text_breaks_the_reader(text: str) -> None:
    with pytest.raises(ValueError):
        values.load(text)


def test_an_object_that_claims_to_be_equal_is_not_compared() -> None:
    class Equal(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    class Nothing:
        def __eq__(self, other: object) -> bool:
            return True

    assert values.load(values.dump(Equal(3))) == 3
    assert not same_value(5, values.load(values.dump(Equal(3))), 0)
    assert not same_value(5, values.load(values.dump(Nothing())), 0)


PASSING = [
    ("assert f(1, 2) == 3", "3"),
    ("assert f([1], x=(2,)) == {'a': 1}", '{"d": [["a", 1]]}'),
    ("assert 3 == f(1)", "3"),
    ("assert f(1) is True", "true"),
    ("assert f(1) == -2.5", "-2.5000001"),
    ("assert f() in (1, 2)", "2"),
    ("assert abs(f(2) - 1.5) < 0.1", "1.55"),
    ("assert math.isclose(f(2), 1.5, rel_tol=0.1)", "1.6"),
    ("assert set(f((3, 4), (5, 4))) == set((4,))", "[4, 4]"),
    ("assert sorted(f(1)) == [1, 2]", '{"t": [2, 1]}'),
    ("assert len(f(1)) == 2, 'a message'", "[0, 0]"),
    ("assert f('x')", "[1]"),
    ("assert not f('x')", "[]"),
    ("assert f(1) == None", "null"),
]


@pytest.mark.parametrize(("assertion", "answer"), PASSING)
def test_assertions_are_read_as_calls(assertion: str, answer: str) -> None:
    (test,) = prepare_tests(read_tests([assertion]), tolerance=1e-6, allow_weak=False)
    assert test.given["call"] == "f"
    assert "expected" not in test.given
    assert not test.is_weak
    assert test.passes(answer)


@pytest.mark.parametrize(
    ("assertion", "answer"),
    [
        ("assert f(1, 2) == 3", "4"),
        ("assert f(1) is True", "1"),
        ("assert f() in (1, 2)", "3"),
        ("assert abs(f(2) - 1.5) < 0.1", "1.7"),
        ("assert abs(f(2) - 1.5) < 0.1", '"text"'),
        ("assert abs(f(2) - 1.5) < 0.1", '{"o": "Equal"}'),
        ("assert math.isclose(f(2), 1.5)", "1.6"),
        ("assert math.isclose(f(2), 1.5)", "9" * 4000),
        ("assert set(f(1)) == {4}", "[[1]]"),
        ("assert len(f(1)) == 2", "5"),
        ("assert f('x')", '{"o": "Truthy"}'),
        ("assert f('x')", "0"),
        ("assert not f('x')", "1"),
        ("assert f(1) == [1, 2]", '{"t": [1, 2]}'),
    ],
)
def test_wrong_answers_to_assertions_are_wrong(assertion: str, answer: str) -> None:
    (test,) = prepare_tests(read_tests([assertion]), tolerance=1e-6, allow_weak=False)
    assert not test.passes(answer)


WEAK = [
    "assert f(g(1)) == 2",
    "assert f(1) == f(2)",
    "assert f(1) > 2",
    "assert all(f(n) == n for n in range(3))",
    "x = f(1)\nassert x == 2",
    "assert 1 == 1",
    "assert f(*[1]) == 1",
    "assert obj.f(1) == 1",
    "assert f(1) == 1 == 1",
    "assert (",
    "f(1) == 1",
    "assert f(1) == " + "(" * 500,
    "assert f(1) == " + "-" * 3000 + "1",
]


@pytest.mark.parametrize("assertion", WEAK)
def test_other_assertions_are_refused_unless_weak_tests_are_wanted(assertion: str) -> None:
    with pytest.raises(ValueError, match=r"test 0: .*set allow_weak_tests"):
        prepare_tests(read_tests([assertion]), tolerance=0, allow_weak=False)
    (test,) = prepare_tests(read_tests([assertion]), tolerance=0, allow_weak=True)
    assert test.is_weak


def test_the_form_of_apps_is_read() -> None:
    (whole,) = read_tests({"inputs": [["1", "2"]], "outputs": ["3\n"]})
    assert (whole.stdin, whole.stdout) == ("1\n2", "3\n")
    (call,) = read_tests({"inputs": [[1, 2]], "outputs": [3], "fn_name": "add"})
    assert (call.call, call.args, call.expected) == ("add", [1, 2], 3)


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        ([], "a list of 1 to 200 tests, found 0 tests"),
        (["assert f(1) == 1"] * 201, "found 201 tests"),
        ([{"input": "1", "output": "2"}], "test 0: found the keys input, output; expected stdin and stdout, or call"),
        ([{"call": "f"}], "test 0: expected: Field required"),
        ([{"call": "f.g", "expected": 1}], "test 0: call: String should match"),
        ([{"stdin": 1, "stdout": "x"}], "test 0: stdin: Input should be a valid string"),
        ([3], "test 0: found a int"),
        (["assert f(1) > 1"], "test 0: 'f(1) > 1' cannot be checked from outside"),
        ({"inputs": [1], "outputs": []}, "of the same number"),
        ("{{item.tests", "is never closed"),
    ],
)
def test_tests_that_cannot_be_used_are_refused_with_the_grader(tests: Any, message: str) -> None:
    with pytest.raises(GraderSpecError) as refused:
        parse_grader({"type": "code", "tests": tests})
    assert message in refused.value.message


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("x = 1", "x = 1"),
        ("Here:\n```python\nx = 1\n```\nDone.", "x = 1\n"),
        ("```python\nx = 1\n```\nbetter:\n```py\nx = 2\n```\nrun:\n```bash\nls\n```", "x = 2\n"),
        ("```\nx = 3\n```", "x = 3\n"),
        ("```python\nx = 4", "x = 4"),
        ("  ```Python title=a\n  x = 5\n  ```", "  x = 5\n"),
        ("", ""),
    ],
)
def test_the_last_block_of_python_is_the_program(text: str, program: str) -> None:
    assert extract_program(text) == program


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PYTHON = JSON | st.tuples(st.integers(), st.binary(max_size=4)) | st.frozensets(st.integers(), max_size=4)


@given(PYTHON)
def test_every_value_comes_back_and_equals_itself_only(value: object) -> None:
    found = values.load(values.dump(value))
    is_nan = "nan" in repr(value)
    assert same_value(value, found, 0.0) is not is_nan
    assert not same_value([value], found, 0.0)


@given(JSON | st.lists(st.dictionaries(st.sampled_from(["stdin", "stdout", "call", "args", "expected"]), JSON)))
def test_whatever_stands_in_for_tests_is_read_or_refused_in_words(tests: Any) -> None:
    try:
        parse_grader({"type": "code", "tests": tests})
    except GraderSpecError as error:
        message = error.message
    else:
        message = "read"
    assert message


@given(st.text(max_size=80) | st.from_regex(r"\Aassert f\([^)]{0,20}\) (==|is|in) .{0,20}\Z"))
def test_no_assertion_breaks_the_reader(text: str) -> None:
    (test,) = prepare_tests(read_tests([text]), tolerance=0, allow_weak=True)
    assert isinstance(test.passes("[1]"), bool)


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_answer_breaks_a_comparison(expected: str, found: str) -> None:
    assert isinstance(same_output(expected, found, 1e-6), bool)
    (test,) = prepare_tests(read_tests(["assert sorted(f(1)) == [1]"]), tolerance=0, allow_weak=False)
    assert isinstance(test.passes(found), bool)
