"""Runs one grader: `runner.py DESCRIPTOR`, once inside. It locks itself down, takes a source, and answers calls.

User code shares this interpreter, so nothing here keeps it from ruining its own answers; the kernel keeps it from
everything else, and the host believes a reply only for the one call that is outstanding.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import json
import os
import random
import signal
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

_ROOT = os.path.abspath(__file__).rsplit("/", 4)[0]
sys.path.insert(0, _ROOT)

from fettle_graders.sandbox.jail import lockdown  # noqa: E402
from fettle_graders.sandbox.jail.frames import (  # noqa: E402
    CALL,
    EXCEPTION,
    INVALID_RETURN,
    LOAD,
    LOAD_ERROR,
    MAX_OUTPUT_BYTES,
    MAX_TEXT_BYTES,
    MEMORY_LIMIT,
    OK,
    READY,
    REPLY,
    REQUEST,
    cut,
    read_config,
    read_exactly,
    write_all,
)

SOURCE_NAME = "<grader>"
_RECURSION_LIMIT = sys.getrecursionlimit()
_MANY_FILES = 32


def enter(config: Mapping[str, Any]) -> tuple[int, int]:
    """Lock down and tell the host.

    Returns:
        The pipe to read requests from and the one to reply on.
    """
    requests, replies = config["pipes"]
    os.environ.clear()
    os.environ.update(config["environment"])
    sys.path[:] = [path for path in sys.path if path != _ROOT] + config["packages"]
    sys.dont_write_bytecode = True
    silence = os.open(os.devnull, os.O_RDWR)
    lockdown.lock_down(config)
    for standard in (0, 1, 2):  # the last of them told the host why the start failed, until now
        os.dup2(silence, standard)
    os.close(silence)
    write_all(replies, REPLY.pack(0, READY, 0.0, 0, 0))
    return requests, replies


def main(config: Mapping[str, Any]) -> None:
    requests, replies = enter(config)
    grade: Callable[..., object] | None = None
    while True:
        try:
            size, kind, number, _ = REQUEST.unpack(read_exactly(requests, REQUEST.size))
            body = read_exactly(requests, size)
        except EOFError:
            os._exit(0)
        _restore()
        output = Output()
        sys.stdout = sys.stderr = output
        outcome, score, text = EXCEPTION, 0.0, ""
        try:
            if kind == LOAD:
                grade, outcome = load(body.decode()), OK
            elif kind == CALL and grade is not None:
                sample, item = json.loads(body)
                if "output_json" not in sample:
                    sample["output_json"] = parsed(sample["output_text"])
                outcome, score, text = number_of(grade(sample, item))
        except MemoryError:
            outcome, text = MEMORY_LIMIT, "the grader needs more memory than it may have"
        except BaseException as error:
            outcome, text = (LOAD_ERROR if kind == LOAD else EXCEPTION), describe(error)
        said, printed = cut(text, MAX_TEXT_BYTES), output.first()
        write_all(replies, REPLY.pack(number, outcome, score, len(said), len(printed)) + said + printed)
        if _has_many_files():
            os._exit(0)  # calls to come would find none left; the host takes another worker for them


class GraderSourceError(Exception):
    """The source runs, and has no usable `grade`."""


class Output(io.TextIOBase):
    """Keeps the first 8 KiB that is printed."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._room = MAX_OUTPUT_BYTES

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._room > 0:
            self._parts.append(text[: self._room])
            self._room -= len(text)
        return len(text)

    def first(self) -> bytes:
        return cut("".join(map(str, self._parts)), MAX_OUTPUT_BYTES)


def load(source: str) -> Callable[..., object]:
    """Run the module's top level and find `grade`.

    Raises:
        GraderSourceError: no function `grade`, or not one of two positional arguments.
        BaseException: whatever the source raises.
    """
    tree = ast.parse(source, SOURCE_NAME)
    module = types.ModuleType("grader")
    sys.modules["grader"] = module
    exec(compile(tree, SOURCE_NAME, "exec"), module.__dict__)
    grade: Callable[..., object] | None = module.__dict__.get("grade")
    if not callable(grade):
        raise GraderSourceError("there is no function grade at the top level; expected def grade(sample, item)")
    if inspect.iscoroutinefunction(grade):
        raise GraderSourceError("grade is async; expected a plain def grade(sample, item)")
    try:
        inspect.signature(grade).bind({}, {})
    except TypeError as error:
        raise GraderSourceError(
            f"grade{inspect.signature(grade)} cannot be called with two positional arguments ({error}); "
            "expected def grade(sample, item)"
        ) from None
    _import_early(tree)
    return grade


def _import_early(tree: ast.AST) -> None:
    """What functions import at their first call is imported now, out of the call's time. Missing ones fail there."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            try:
                importlib.import_module(name)
            except Exception:
                continue


def parsed(text: str) -> object:
    """The JSON value a text spells, or None."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def number_of(value: object) -> tuple[int, float, str]:
    """(outcome, score, message). A real finite number, or True and False; by its type, not by what it claims to be."""
    kind = type(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(kind, (numpy.floating, numpy.integer, numpy.bool_)):
        value = numpy.generic.item(value)  # not its own `item`, which a subclass may replace
        kind = type(value)
    try:
        if issubclass(kind, float):
            score = float.__float__(value)  # type: ignore[arg-type]
        elif issubclass(kind, int):
            score = float(int.__int__(value))  # type: ignore[arg-type]
        else:
            return INVALID_RETURN, 0.0, f"grade returned a {_name(kind)}, expected a number"
    except OverflowError:
        return INVALID_RETURN, 0.0, "grade returned a number too large to hold, expected a finite number"
    if score - score != 0.0:
        return INVALID_RETURN, 0.0, f"grade returned {score}, expected a finite number"
    return OK, score, ""


def describe(error: BaseException, source_name: str = SOURCE_NAME) -> str:
    """`line 3, in grade: ZeroDivisionError: division by zero`, whatever the exception does to avoid it."""
    try:
        name = _name(type(error))
        hint = ""
        if isinstance(error, ModuleNotFoundError):
            hint = "; the package is not installed where graders run"
        if isinstance(error, GraderSourceError):
            return str(error)
        if isinstance(error, SyntaxError) and error.filename == source_name:
            return f"line {error.lineno}: {name}: {error.msg}"
        place, trace = "", error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == source_name:
                place = f"line {trace.tb_lineno}, in {trace.tb_frame.f_code.co_name}: "
            trace = trace.tb_next
        return f"{place}{name}: {str(error)[:MAX_TEXT_BYTES]}{hint}"
    except BaseException:
        return "an exception that cannot be shown"


def _name(kind: type) -> str:
    """The type's own name, also where its metaclass says otherwise."""
    return str(type.__dict__["__name__"].__get__(kind))


def _has_many_files() -> bool:
    """Whether half of the descriptors that there may be are open: the next one is the lowest that is free."""
    try:
        descriptor = os.dup(0)
    except OSError:
        return True
    os.close(descriptor)
    return descriptor >= _MANY_FILES


def _restore() -> None:
    """What one call may have left behind is put back before the next. Not a protection: state can be kept elsewhere."""
    sys.settrace(None)
    sys.setprofile(None)
    sys.setrecursionlimit(_RECURSION_LIMIT)
    os.chdir("/")
    random.seed(0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in _HANDLERS.items():
        if _signal.getsignal(number) is not handler:
            _signal.signal(number, handler)
    if "decimal" in sys.modules:
        decimal = sys.modules["decimal"]
        decimal.setcontext(decimal.Context())
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(0)


_signal: Any = importlib.import_module("_signal")  # the signal module wraps each answer in an enum, which is slow
_HANDLERS = {
    number: _signal.getsignal(number)
    for number in range(1, 65)
    if number not in (signal.SIGKILL, signal.SIGSTOP) and _signal.getsignal(number) is not None
}

if __name__ == "__main__":
    main(read_config())
