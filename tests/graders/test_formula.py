from __future__ import annotations

import contextlib
import inspect
import math
import sys

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fettle_graders.errors import FormulaError, FormulaSyntaxError
from fettle_graders.formula import FUNCTIONS, MAX_CHARS, is_variable_name, parse_formula


def value(text: str, **values: float) -> float:
    return parse_formula(text).evaluate(values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("1.5", 1.5),
        (".5", 0.5),
        ("2.", 2),
        ("1e3", 1000),
        ("2.5E-1", 0.25),
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("7 - 4 - 2", 1),
        ("16 / 4 / 2", 2),
        ("2 ^ 3 ^ 2", 512),
        ("(2 ^ 3) ^ 2", 64),
        ("2 * 3 ^ 2", 18),
        ("-2 ^ 2", -4),
        ("(-2) ^ 2", 4),
        ("2 ^ -1", 0.5),
        ("2 ^ -2 ^ 2", 2**-4),
        ("--3", 3),
        ("+3", 3),
        ("2 - -3", 5),
        ("2 * -3", -6),
        ("-2 * 3", -6),
        ("4 / -2 * 3", -6),
        ("-8 ^ 2 * 2", -128),
        ("min(3, 1, 2)", 1),
        ("max(3, 1, 2)", 3),
        ("min(4)", 4),
        ("max(-1)", -1),
        ("abs(-2)", 2),
        ("floor(1.9)", 1),
        ("floor(-1.1)", -2),
        ("ceil(1.1)", 2),
        ("exp(0)", 1),
        ("sqrt(9)", 3),
        ("log(exp(2))", 2),
        ("0 ^ 0", 1),
        ("  1\n+\t1 ", 2),
    ],
)
def test_worked_numbers(text: str, expected: float) -> None:
    assert value(text) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("0.8 * a + b / 4 - 3", {"a": 0.8, "b": 0.25}),
        ("-(a - 2 * b) * 2^2", {"a": -4.0, "b": 8.0}),
        ("a + a", {"a": 2.0}),
        ("(a + b) / max(2, 4)", {"a": 0.25, "b": 0.25}),
        ("7", {}),
        ("a * b", None),
        ("min(a, b)", None),
        ("a / b", None),
        ("a ^ 2", None),
        ("a / 0", None),
    ],
)
def test_weights_of_a_sum(text: str, weights: dict[str, float] | None) -> None:
    assert parse_formula(text).weights() == weights


def test_variables() -> None:
    assert value("0.7 * correct + 0.3 * max(0, 1 - length)", correct=1.0, length=0.5) == pytest.approx(0.85)
    assert parse_formula("a + b * a").variables == {"a", "b"}
    assert value("größe * 2", größe=3) == 6
    assert value("e1 + 1", e1=2) == 3


@pytest.mark.parametrize(
    "text",
    ["1 / 0", "1 / (a - a)", "0 ^ -1", "log(0)", "log(-1)", "sqrt(-1)", "(-8) ^ 0.5", "(-8) ^ (1 / 3)", "exp(1000)",
     "10 ^ 400", "1e308 * 10", "1e308 + 1e308", "-1e308 - 1e308", "1 / exp(-1000)", "floor(1e308 * 10)"],
)  # fmt: skip
def test_no_finite_value_is_an_error(text: str) -> None:
    with pytest.raises(FormulaError):
        value(text, a=1.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "end of the formula"),
        ("   ", "end of the formula"),
        ("1 +", "end of the formula at character 4"),
        ("1 2", "expected an operator"),
        ("a b", "expected an operator"),
        ("2a", "expected an operator"),
        ("(1", "expected `)`"),
        ("1)", "found `)`"),
        ("2 ** 3", "power is written ^"),
        ("1 % 2", "`%`"),
        ("a == b", "`=`"),
        ("a if b else c", "expected an operator"),
        ("pow(2, 3)", "there are min"),
        ("__import__('os')", "`'`"),
        ("a.b", "`.`"),
        ("min()", "found `)`"),
        ("min(1,)", "found `)`"),
        ("abs(1, 2)", "takes 1 argument, not 2"),
        ("1e999", "a number in range"),
        ("* 1", "found `*`"),
        ("1" * (MAX_CHARS + 1), "at most"),
        ("(" * 60 + "1" + ")" * 60, "deeper than 50"),
        ("-" * 60 + "1", "deeper than 50"),
        ("2^" * 60 + "1", "deeper than 50"),
        ("abs(" * 60 + "1" + ")" * 60, "deeper than 50"),
    ],
)
def test_what_cannot_be_read_is_an_error(text: str, words: str) -> None:
    with pytest.raises(FormulaSyntaxError) as caught:
        parse_formula(text)
    assert words in str(caught.value)


def test_long_flat_formulas_use_no_recursion() -> None:
    assert value("1" + "+1" * 4999) == 5000
    assert value("min(" + "1," * 4000 + "1)") == 1


def test_the_deepest_formula_needs_few_frames() -> None:
    limit = sys.getrecursionlimit()
    formula = "abs(" * 49 + "1" + ")" * 49
    try:
        sys.setrecursionlimit(len(inspect.stack()) + 250)
        assert value(formula) == 1
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize("name", ["", "a b", "1a", "a-b", "a.b", "min", "é!", "a\n"])
def test_names_that_are_no_variables(name: str) -> None:
    assert not is_variable_name(name)


@given(st.text())
def test_a_variable_name_is_read_as_that_variable(name: str) -> None:
    assume(is_variable_name(name))
    assert parse_formula(name).variables == {name}


@given(st.text(alphabet=st.sampled_from("0123456789.eE+-*/^(), ab min max log sqrt exp")))
def test_no_formula_crashes_and_no_value_is_infinite(text: str) -> None:
    try:
        formula = parse_formula(text)
        result = formula.evaluate(dict.fromkeys(formula.variables, 0.5))
    except (FormulaSyntaxError, FormulaError):
        return
    assert math.isfinite(result)


@given(st.text())
def test_no_text_crashes(text: str) -> None:
    with contextlib.suppress(FormulaSyntaxError):
        parse_formula(text)


# Trees of Python source and of ours, written side by side: Python's own arithmetic is the reference.
NUMBERS = st.integers(0, 9).map(lambda n: (str(float(n)), str(n)))
VARIABLES = st.sampled_from("abc").map(lambda n: (n, n))


def _grow(inner: st.SearchStrategy[tuple[str, str]]) -> st.SearchStrategy[tuple[str, str]]:
    binary = st.tuples(inner, st.sampled_from("+-*/^"), inner).map(
        lambda t: (f"{t[0][0]} {'**' if t[1] == '^' else t[1]} {t[2][0]}", f"{t[0][1]}{t[1]}{t[2][1]}")
    )
    call = st.tuples(st.sampled_from(["abs", "floor", "ceil", "exp", "sqrt", "log"]), inner).map(
        lambda t: (f"{t[0]}({t[1][0]})", f"{t[0]}({t[1][1]})")
    )
    several = st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(
        lambda t: (f"{t[0]}({t[1][0]}, {t[2][0]})", f"{t[0]}({t[1][1]},{t[2][1]})")
    )
    return (
        binary
        | call
        | several
        | inner.map(lambda t: (f"({t[0]})", f"({t[1]})"))
        | inner.map(lambda t: (f"-{t[0]}", f"-{t[1]}"))
    )


@given(st.recursive(NUMBERS | VARIABLES, _grow, max_leaves=8))
def test_values_agree_with_pythons_arithmetic(pair: tuple[str, str]) -> None:
    python_text, text = pair
    values = {"a": 0.5, "b": 2.0, "c": 3.0}
    try:
        expected = eval(python_text, {**FUNCTIONS, **values})
    except (ArithmeticError, ValueError, TypeError):  # TypeError: a complex number went on
        expected = None
    try:
        found = value(text, **values)
    except FormulaError:
        found = None
    if isinstance(expected, complex) or (expected is not None and not math.isfinite(expected)):
        expected = None
    if found is None:
        # Ours also refuses an infinite or complex value on the way, where Python may come back to a finite one.
        assert expected is None or "/" in text or "^" in text or "exp" in text
    else:
        assert found == pytest.approx(expected, rel=1e-9)
