"""What can be said of a python grader's source without running it. Advice only: this keeps no code from anything."""

from __future__ import annotations

import ast

_RUN = ("exec", "eval", "compile")


def line_that_runs_text(source: str) -> int | None:
    """The first line that hands text to `exec`, `eval` or `compile` which is not a constant of the source."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # it does not load, which is told elsewhere
    lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Call) and _runs_text(node)]
    return min(lines, default=None)


def _runs_text(call: ast.Call) -> bool:
    function = call.func
    name = function.id if isinstance(function, ast.Name) else None
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        name = function.attr if function.value.id in ("builtins", "__builtins__") else None
    return name in _RUN and bool(call.args) and not isinstance(call.args[0], ast.Constant)
