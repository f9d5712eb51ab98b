"""A local function as a `python` grader: `@fettle.grader`.

@fettle.grader
def short(sample, item):
    return float(len(sample["output_text"]) < 400)

short({"output_text": "hi"}, {})              # still your function
short.check("hi")                             # offline, in the sandbox that a server uses
client.finetune(..., grader=short)            # and a grader
"""

from __future__ import annotations

import ast
import builtins
import dis
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from types import CodeType
from typing import Any, TypeAlias, overload

from fettle.errors import InvalidRequest
from fettle.results import GraderResult

GradeFunction: TypeAlias = Callable[..., float]
_FUTURE = "from __future__ import annotations\n\n\n"


class LocalGrader(dict[str, Any]):
    """The grader's definition, as the wire has it; calling it calls the function it was made from."""

    def __init__(self, function: GradeFunction, *, name: str) -> None:
        super().__init__(type="python", name=name, source=function_source(function))
        self._function = function
        self.__name__, self.__doc__ = function.__name__, function.__doc__

    def __call__(self, sample: Mapping[str, Any], item: Mapping[str, Any]) -> float:
        return self._function(sample, item)

    @property
    def source(self) -> str:
        """What is sent."""
        return str(self["source"])

    def check(self, answer: str, item: Mapping[str, Any] | None = None) -> GraderResult:
        """Grade one answer on this machine, in the sandbox that a server uses. Needs `fettle-server`.

        Raises:
            InvalidRequest: `fettle-server` is not installed, or its sandbox cannot run here.
        """
        return check_offline(self, answer, item)


@overload
def grader(function: GradeFunction, /) -> LocalGrader: ...
@overload
def grader(*, name: str | None = None) -> Callable[[GradeFunction], LocalGrader]: ...
def grader(
    function: GradeFunction | None = None, /, *, name: str | None = None
) -> LocalGrader | Callable[[GradeFunction], LocalGrader]:
    """Make a function of (sample, item) a `python` grader. It runs alone: what it needs has to be inside it.

    Raises:
        InvalidRequest: its source cannot be had, or it uses names from outside.
    """
    if function is None:
        return lambda given: LocalGrader(given, name=name or given.__name__)
    return LocalGrader(function, name=function.__name__)


def check_offline(definition: Mapping[str, Any], answer: str, item: Mapping[str, Any] | None) -> GraderResult:
    """Grade one answer without a server.

    Raises:
        InvalidRequest: `fettle-server` is not installed, the definition is not valid, or it cannot run here.
    """
    try:
        # Found by name: the client depends on no other part of Fettle, and uses this one where it is installed.
        offline: Any = importlib.import_module("fettle_graders.offline")
        errors: Any = importlib.import_module("fettle_graders.errors")
    except ImportError as error:
        raise InvalidRequest(
            f"graders run offline where fettle-server is installed ({error})",
            fix="pip install fettle-server, or use client.graders.run, which asks the server.",
        ) from error
    try:
        return GraderResult.construct(**offline.run_offline(dict(definition), answer, dict(item or {})))
    except errors.GraderError as error:
        raise InvalidRequest(f"the grader cannot run here: {getattr(error, 'message', None) or error}") from error


def function_source(function: GradeFunction) -> str:
    """The function's own source: dedented, without decorators, and called `grade`.

    Raises:
        InvalidRequest: as `grader`.
    """
    name = getattr(function, "__name__", "")
    if not inspect.isfunction(function) or name == "<lambda>":
        raise InvalidRequest("a grader has to be a function written with `def`", fix="def grade(sample, item): ...")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise InvalidRequest(f"{name} is asynchronous or a generator; a grader returns a number")
    _refuse_signature(function)
    if function.__closure__:
        outer = ", ".join(function.__code__.co_freevars)
        raise InvalidRequest(
            f"{name} uses {outer} of the function around it, which the sandbox does not have",
            fix="Put the value inside the grader, or into the rows as item.<key>.",
        )
    source = _plain(function)
    outside = sorted({used for used in _globals_used(source) if used not in vars(builtins) and used != name})
    if outside:
        raise InvalidRequest(
            f"{name} uses {', '.join(outside)} from outside; the function runs alone in the sandbox",
            fix="Import modules and define constants and helpers inside the function.",
        )
    renamed = re.sub(rf"^def\s+{re.escape(name)}\b", "def grade", source, count=1)
    again = f"\n\n{name} = grade\n" if name != "grade" and name in _globals_used(source) else ""  # it calls itself
    first = _FUTURE if _has_annotations(source) else ""
    return first + renamed.rstrip("\n") + "\n" + again


def _refuse_signature(function: GradeFunction) -> None:
    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) != 2 or len(parameters) != 2:
        found = ", ".join(str(parameter) for parameter in parameters)
        raise InvalidRequest(f"{function.__name__}({found}) has to take exactly two arguments: sample and item")


def _plain(function: GradeFunction) -> str:
    """The source from `def` to its end."""
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise InvalidRequest(
            f"the source of {function.__name__} cannot be read: {error}",
            fix="Write it in a file or a notebook cell, or pass its source to graders.python.",
        ) from error
    node = next((node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)), None)
    if node is None:
        raise InvalidRequest(f"{function.__name__} is not written with `def` at the start of its own line")
    return "".join(text.splitlines(keepends=True)[node.lineno - 1 : node.end_lineno])


def _has_annotations(source: str) -> bool:
    nodes = list(ast.walk(ast.parse(source)))
    of_arguments = any(node.annotation for node in nodes if isinstance(node, ast.arg))
    return of_arguments or any(node.returns for node in nodes if isinstance(node, ast.FunctionDef))


def _globals_used(source: str) -> set[str]:
    """Names that the source takes from around itself. Annotations are not evaluated, so they may name anything."""
    module = compile(_FUTURE + source, "<grader>", "exec")
    stored = _names(module, "STORE_NAME")
    inside = {
        name for code in _codes(module) if code is not module for name in _names(code, "LOAD_GLOBAL", "LOAD_NAME")
    }
    return inside | (_names(module, "LOAD_NAME") - stored)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _names(code: CodeType, *operations: str) -> set[str]:
    return {str(step.argval) for step in dis.get_instructions(code) if step.opname in operations}
