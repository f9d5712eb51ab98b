"""`calculate_output`: arithmetic over the scores of a multi grader. A precedence-climbing parser, never `eval`.

Grammar, weakest first: `+ -` and `* /` (left to right), unary `-`, `^` (right to left, so `2^3^2` is 512 and `-2^2`
is -4), numbers, grader names, parentheses, and the functions below. The parsed form is postfix, evaluated on a stack,
so that no formula can exhaust Python's recursion.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fettle_graders.errors import FormulaError, FormulaSyntaxError

MAX_CHARS = 10_000
MAX_DEPTH = 50


def _power(base: float, exponent: float) -> float:
    return math.pow(base, exponent)  # `**` would answer (-8) ** 0.5 with a complex number


FUNCTIONS: dict[str, Callable[..., float]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}
_VARIADIC = ("min", "max")
_BINARY: dict[str, tuple[int, Callable[[float, float], float]]] = {
    "+": (1, operator.add),
    "-": (1, operator.sub),
    "*": (2, operator.mul),
    "/": (2, operator.truediv),
    "^": (4, _power),
}
_UNARY_PRECEDENCE = 3
_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_NAME = r"[^\W\d]\w*"
_TOKEN = re.compile(rf"(?P<number>{_NUMBER})|(?P<name>{_NAME})|(?P<symbol>\*\*|[-+*/^(),])")


def is_variable_name(name: str) -> bool:
    """Whether a grader of this name can be used in a formula."""
    return re.fullmatch(_NAME, name) is not None and name not in FUNCTIONS


@dataclass(frozen=True)
class Call:
    """Take `arity` values from the stack, put one back."""

    name: str
    arity: int
    function: Callable[..., float]


@dataclass(frozen=True)
class Variable:
    name: str


@dataclass(frozen=True)
class Formula:
    """A parsed formula, in postfix order."""

    text: str
    steps: tuple[float | Variable | Call, ...]

    @property
    def variables(self) -> frozenset[str]:
        return frozenset(step.name for step in self.steps if isinstance(step, Variable))

    def evaluate(self, values: Mapping[str, float]) -> float:
        """The formula's value.

        Args:
            values: one finite number for each of `variables`.

        Raises:
            FormulaError: division by zero, a value outside a function's domain, or a result that is not finite.
        """
        stack: list[float] = []
        for step in self.steps:
            if isinstance(step, Variable):
                stack.append(float(values[step.name]))
            elif isinstance(step, Call):
                arguments = stack[-step.arity :]
                del stack[-step.arity :]
                stack.append(_apply(step, arguments))
            else:
                stack.append(step)
        return stack[0]

    def weights(self) -> dict[str, float] | None:
        """What each grader is multiplied by, if the formula is a weighted sum (a constant added changes nothing).

        None: it is anything else, such as a product of graders or a minimum.
        """
        stack: list[_Sum] = []
        for step in self.steps:
            if isinstance(step, Variable):
                stack.append(_Sum(0.0, {step.name: 1.0}))
            elif isinstance(step, Call):
                terms = stack[-step.arity :]
                del stack[-step.arity :]
                combined = _combined(step, terms)
                if combined is None:
                    return None
                stack.append(combined)
            else:
                stack.append(_Sum(step, {}))
        return stack[0].weights


@dataclass(frozen=True)
class _Sum:
    """A constant, and weights on graders."""

    constant: float
    weights: dict[str, float]

    def times(self, factor: float) -> _Sum:
        return _Sum(self.constant * factor, {name: weight * factor for name, weight in self.weights.items()})

    def plus(self, other: _Sum) -> _Sum:
        names = dict.fromkeys([*self.weights, *other.weights])
        both = {name: self.weights.get(name, 0.0) + other.weights.get(name, 0.0) for name in names}
        return _Sum(self.constant + other.constant, both)


def _combined(call: Call, terms: list[_Sum]) -> _Sum | None:
    """The call as a weighted sum of its arguments; None when it is none."""
    try:
        if not any(term.weights for term in terms):
            return _Sum(_apply(call, [term.constant for term in terms]), {})
        first, last = terms[0], terms[-1]
        if call.name in ("+", "-"):
            signed = last if call.name == "+" else last.times(-1.0)
            return signed if call.arity == 1 else first.plus(signed)
        if call.name == "*" and not (first.weights and last.weights):
            return first.times(last.constant) if first.weights else last.times(first.constant)
        if call.name == "/" and not last.weights:
            return first.times(_apply(call, [1.0, last.constant]))
    except FormulaError:
        return None
    return None


def parse_formula(text: str) -> Formula:
    """Read a formula.

    Raises:
        FormulaSyntaxError: what was found, what was expected, and at which character (from 1).
    """
    if len(text) > MAX_CHARS:
        raise FormulaSyntaxError(f"the formula has {len(text)} characters; at most {MAX_CHARS}")
    parser = _Parser(text)
    parser.expression(0, depth=0)
    parser.expect_end()
    return Formula(text, tuple(parser.steps))


def _apply(call: Call, arguments: list[float]) -> float:
    shown = f"{call.name}({', '.join(f'{argument:g}' for argument in arguments)})"
    try:
        result = float(call.function(*arguments))
    except ZeroDivisionError as error:
        raise FormulaError(f"division by zero in {shown}") from error
    except OverflowError as error:
        raise FormulaError(f"the result of {shown} is too large") from error
    except ValueError as error:
        raise FormulaError(f"{shown} is not defined for real numbers") from error
    if not math.isfinite(result):
        raise FormulaError(f"the result of {shown} is too large")
    return result


@dataclass(frozen=True)
class _Token:
    kind: str  # number, name, symbol, end
    text: str
    position: int


class _Parser:
    """Reads tokens from left to right and appends postfix steps."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokenize(text)
        self.steps: list[float | Variable | Call] = []
        self.next = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.next]

    def expression(self, min_precedence: int, *, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise FormulaSyntaxError(f"the formula nests deeper than {MAX_DEPTH} levels")
        self.operand(depth)
        while self.token.text in _BINARY and _BINARY[self.token.text][0] >= min_precedence:
            symbol = self.take().text
            precedence, function = _BINARY[symbol]
            # `^` groups from the right: its right side may hold another `^`, and a sign (`2^-1`).
            self.expression(precedence if symbol == "^" else precedence + 1, depth=depth + 1)
            self.steps.append(Call(symbol, 2, function))

    def operand(self, depth: int) -> None:
        token = self.take()
        if token.kind == "number":
            value = float(token.text)
            if not math.isfinite(value):
                raise self.error(token, "a number in range")
            self.steps.append(value)
        elif token.kind == "name":
            if self.token.text == "(":
                self.call(token, depth)
            else:
                self.steps.append(Variable(token.text))
        elif token.text == "(":
            self.expression(0, depth=depth + 1)
            self.expect(")")
        elif token.text in ("-", "+"):
            self.expression(_UNARY_PRECEDENCE, depth=depth + 1)
            if token.text == "-":
                self.steps.append(Call("-", 1, operator.neg))
        else:
            raise self.error(token, "a number, a grader's name, a function or `(`")

    def call(self, token: _Token, depth: int) -> None:
        if token.text not in FUNCTIONS:
            raise FormulaSyntaxError(
                f"unknown function {token.text!r} at character {token.position}; there are {', '.join(FUNCTIONS)}"
            )
        self.expect("(")
        self.expression(0, depth=depth + 1)
        arity = 1
        while self.token.text == ",":
            self.take()
            self.expression(0, depth=depth + 1)
            arity += 1
        self.expect(")")
        if arity > 1 and token.text not in _VARIADIC:
            raise FormulaSyntaxError(f"{token.text} at character {token.position} takes 1 argument, not {arity}")
        # min and max of one value: Python's own would iterate over the number.
        function = FUNCTIONS[token.text] if arity > 1 or token.text not in _VARIADIC else float
        self.steps.append(Call(token.text, arity, function))

    def take(self) -> _Token:
        token = self.token
        self.next = min(self.next + 1, len(self.tokens) - 1)
        return token

    def expect(self, symbol: str) -> None:
        token = self.take()
        if token.text != symbol or token.kind != "symbol":
            raise self.error(token, f"`{symbol}`")

    def expect_end(self) -> None:
        if self.token.kind != "end":
            raise self.error(self.token, "an operator or the end")

    def error(self, token: _Token, expected: str) -> FormulaSyntaxError:
        found = "the end of the formula" if token.kind == "end" else f"`{token.text[:40]}`"
        return FormulaSyntaxError(f"found {found} at character {token.position}, expected {expected}")


def _tokenize(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        match = _TOKEN.match(text, position)
        if match is None or match.group() == "**":
            found = match.group() if match else text[position]
            hint = "; power is written ^" if found == "**" else ""
            raise FormulaSyntaxError(
                f"found `{found}` at character {position + 1}, expected a number, a name or one of + - * / ^ ( ){hint}"
            )
        tokens.append(_Token(match.lastgroup or "", match.group(), position + 1))
        position = match.end()
    tokens.append(_Token("end", "", len(text) + 1))
    return tokens
