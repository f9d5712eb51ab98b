"""Tests of programs: what goes into the sandbox, and what is compared with the answer out here.

`assert f(args) == literal` and its relatives are read as a call of `f` and a comparison, so that the program never
meets the assertion: one that runs beside the program can be made to pass by it.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fettle_graders.kinds.code import AssertTest, CallTest, StdinTest, Test
from fettle_graders.sandbox.jail import values

_WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "set": set, "frozenset": frozenset, "tuple": tuple, "list": list, "sorted": sorted, "len": len, "bool": bool,
}  # fmt: skip


class UnreadableAssertion(ValueError):
    """An assertion that cannot be checked from outside; the message says why."""


@dataclass(frozen=True)
class ReadTest:
    """One test, ready to run.

    Attributes:
        given: the input for `sandbox.programs.run_program`, never what is expected.
        passes: whether the text that came back is right.
        expected: for messages.
        is_weak: the assertion runs beside the program, which can forge it.
    """

    given: Mapping[str, Any]
    passes: Callable[[str], bool]
    expected: str
    is_weak: bool = False


def prepare_tests(tests: Sequence[Test], *, tolerance: float, allow_weak: bool) -> list[ReadTest]:
    """Make tests ready to run.

    Raises:
        ValueError: an assertion that can only be checked beside the program, and that is not allowed.
    """
    read = []
    for position, test in enumerate(tests):
        try:
            read.append(_read(test, tolerance))
        except UnreadableAssertion as why:
            if not allow_weak:
                raise ValueError(
                    f"test {position}: {why}. Write it as a call with `expected`, or set allow_weak_tests and know "
                    "that a program can make such a test pass"
                ) from None
            assert isinstance(test, AssertTest)
            given = {"assertion": test.assertion}
            read.append(ReadTest(given, lambda text: text == "true", test.assertion, is_weak=True))
    return read


def _read(test: Test, tolerance: float) -> ReadTest:
    match test:
        case StdinTest(stdin=stdin, stdout=stdout):
            return ReadTest({"stdin": stdin}, lambda text: same_output(stdout, text, tolerance), repr(stdout[:200]))
        case CallTest(expected=expected):
            given = _call(test.call, test.args, test.kwargs)
            check = _when_readable(lambda found: same_value(expected, found, tolerance, is_json=True))
            return ReadTest(given, check, repr(expected)[:200])
        case AssertTest(assertion=assertion):
            return _read_assertion(assertion, tolerance)


def same_value(expected: Any, found: Any, tolerance: float, *, is_json: bool = False) -> bool:
    """Whether two values are the same by type and value.

    Numbers are compared as numbers, a float within the tolerance (relative, and absolute near 0); True and False equal
    only themselves. With `is_json` a tuple counts as a list and a key as its text, as JSON has neither.
    """
    if isinstance(expected, bool) or isinstance(found, bool) or expected is None or found is None:
        return type(expected) is type(found) and bool(expected == found)
    if isinstance(expected, int | float) and isinstance(found, int | float):
        return _same_number(expected, found, tolerance)
    if is_json and isinstance(found, tuple):
        found = list(found)
    if isinstance(expected, dict) and isinstance(found, dict):
        if is_json:
            found = {key if isinstance(key, str) else str(key): value for key, value in found.items()}
        same = expected.keys() == found.keys()
        return same and all(same_value(expected[k], found[k], tolerance, is_json=is_json) for k in expected)
    if isinstance(expected, list | tuple) and type(expected) is type(found):
        pairs = zip(expected, found, strict=True) if len(expected) == len(found) else [(0, "")]
        return all(same_value(one, other, tolerance, is_json=is_json) for one, other in pairs)
    if isinstance(expected, set | frozenset) and isinstance(found, set | frozenset):
        return {(type(one), one) for one in expected} == {(type(one), one) for one in found}
    return type(expected) is type(found) and bool(expected == found)


def same_output(expected: str, found: str, tolerance: float) -> bool:
    """Whether two printed texts are the same: line by line without blanks at their ends, decimals within tolerance."""
    lines = [[line.rstrip() for line in text.rstrip().splitlines()] for text in (expected, found)]
    if lines[0] == lines[1]:
        return True
    if len(lines[0]) != len(lines[1]):
        return False
    words = [[word for line in text for word in (*line.split(), "\n")] for text in lines]
    return len(words[0]) == len(words[1]) and all(map(lambda a, b: _same_word(a, b, tolerance), *words))


def _same_word(expected: str, found: str, tolerance: float) -> bool:
    if expected == found:
        return True
    if "." not in expected or len(found) > 100:  # only a decimal may differ a little
        return False
    try:
        return _same_number(float(expected), float(found), tolerance)
    except ValueError:
        return False


def _same_number(expected: float, found: float, tolerance: float) -> bool:
    if isinstance(expected, int) and isinstance(found, int):
        return expected == found
    try:
        return expected == found or math.isclose(expected, found, rel_tol=tolerance, abs_tol=tolerance)
    except OverflowError:  # an integer beyond any float
        return False


def _when_readable(check: Callable[[Any], bool]) -> Callable[[str], bool]:
    """The check on the value that an answer spells; what spells none, or nests too deep, is wrong."""

    def passes(text: str) -> bool:
        try:
            return check(values.load(text))
        except (ValueError, TypeError, ArithmeticError, RecursionError):
            return False

    return passes


def _call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {"call": name, "args": values.dump(list(args)), "kwargs": values.dump(dict(kwargs))}


def _read_assertion(text: str, tolerance: float) -> ReadTest:
    try:
        body = ast.parse(text.strip()).body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UnreadableAssertion(f"{text[:80]!r} is not Python: {type(error).__name__}") from None
    if len(body) != 1 or not isinstance(body[0], ast.Assert):
        raise UnreadableAssertion(f"{text[:80]!r} is not one assert statement")
    given, check, expected = _read_claim(body[0].test, tolerance)
    return ReadTest(given, _when_readable(check), expected)


_Claim = tuple[dict[str, Any], Callable[[Any], bool], str]


def _read_claim(claim: ast.expr, tolerance: float) -> _Claim:
    """(what to call, whether its value is right, in words)."""
    match claim:
        case ast.Compare(left=ast.Call(func=ast.Name(id="abs"), args=[ast.BinOp(op=ast.Sub()) as gap]), ops=[op]):
            limit = _literal(claim.comparators[0])
            if not isinstance(op, ast.Lt | ast.LtE) or not isinstance(limit, int | float):
                raise _unreadable(claim)
            given, wrap = _read_call(gap.left)
            expected = _literal(gap.right)
            return given, lambda found: abs(wrap(found) - expected) <= limit, f"{expected!r} within {limit!r}"
        case ast.Call(func=ast.Attribute(attr="isclose"), args=[called, wanted, *_]):
            given, wrap = _read_call(called)
            near = {"rel_tol": 1e-9} | {k.arg: _literal(k.value) for k in claim.keywords if k.arg}
            expected = _literal(wanted)
            return given, lambda found: math.isclose(wrap(found), expected, **near), f"about {expected!r}"
        case ast.Compare(ops=[ast.Eq() | ast.Is()], left=left, comparators=[right]):
            called, wanted = (left, right) if _has_call(left) else (right, left)
            given, wrap = _read_call(called)
            expected = _read_wanted(wanted)
            return given, lambda found: same_value(expected, wrap(found), tolerance), repr(expected)[:200]
        case ast.Compare(ops=[ast.In()], left=left, comparators=[right]):
            given, wrap = _read_call(left)
            choices = list(_literal(right))
            words = f"one of {choices!r}"[:200]
            return given, lambda found: any(same_value(one, wrap(found), tolerance) for one in choices), words
        case ast.UnaryOp(op=ast.Not(), operand=called):
            given, wrap = _read_call(called)
            return given, lambda found: not wrap(found), "something false"
        case ast.Call():
            given, wrap = _read_call(claim)
            return given, lambda found: bool(wrap(found)) and not isinstance(found, values.Opaque), "something true"
    raise _unreadable(claim)


def _has_call(node: ast.expr) -> bool:
    """Whether this side calls the program: a call that is not one of ours around a literal."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _WRAPPERS and node.args:
        node = node.args[0]
    return isinstance(node, ast.Call)


def _read_call(node: ast.expr) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    """The call of the program's function, and what is done with its value out here (`set(f(x))`)."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise _unreadable(node)
    name = node.func.id
    if name in _WRAPPERS and len(node.args) == 1 and isinstance(node.args[0], ast.Call) and not node.keywords:
        given, inner = _read_call(node.args[0])
        outer = _WRAPPERS[name]
        return given, lambda found: outer(inner(found))
    kwargs = {keyword.arg: _read_wanted(keyword.value) for keyword in node.keywords if keyword.arg}
    if len(kwargs) != len(node.keywords):
        raise _unreadable(node)
    return _call(name, [_read_wanted(argument) for argument in node.args], kwargs), lambda found: found


def _read_wanted(node: ast.expr) -> Any:
    """A literal, or one of our own functions of it (`set([1, 2])`)."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _WRAPPERS:
        if len(node.args) > 1 or node.keywords:
            raise _unreadable(node)
        try:
            return _WRAPPERS[node.func.id](_read_wanted(node.args[0]) if node.args else ())
        except TypeError:
            raise _unreadable(node) from None
    return _literal(node)


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError, SyntaxError):
        raise _unreadable(node) from None


def _unreadable(node: ast.expr) -> UnreadableAssertion:
    try:
        shown = ast.unparse(node)[:80]
    except RecursionError:
        shown = "an expression"
    return UnreadableAssertion(f"{shown!r} cannot be checked from outside the program")
