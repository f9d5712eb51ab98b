"""Runs programs that a model wrote, each in a process of its own: `fork_server.py DESCRIPTOR`, once inside.

This parent runs no code but ours and never sees a program or its inputs: the child reads them, gives up the pipe they
came by, and loads the strict filter. What a program answers is only data; the host compares it with what is expected,
which never comes here.
"""

from __future__ import annotations

import bisect  # noqa: F401  # what most programs import is there when the child is made
import collections  # noqa: F401
import functools  # noqa: F401
import heapq  # noqa: F401
import io
import itertools  # noqa: F401
import json
import math  # noqa: F401
import os
import random
import re  # noqa: F401
import string  # noqa: F401
import sys
import types
import typing  # noqa: F401
from collections.abc import Mapping
from typing import Any

sys.path.insert(0, os.path.abspath(__file__).rsplit("/", 4)[0])

from fettle_graders.sandbox.jail import lockdown, values
from fettle_graders.sandbox.jail.frames import (
    ENDED,
    EXCEPTION,
    MAX_TEXT_BYTES,
    MAX_VALUE_BYTES,
    MEMORY_LIMIT,
    OK,
    PING,
    REPLY,
    REQUEST,
    TOO_LARGE,
    VALUE,
    cut,
    read_config,
    read_exactly,
    write_all,
)
from fettle_graders.sandbox.jail.runner import describe, enter

SOURCE_NAME = "<program>"
Program = dict[str, Any]  # as `programs.run_program` writes it


def main(config: Mapping[str, Any]) -> None:
    requests, replies = enter(config)
    program_filter = bytes.fromhex(config["runner_seccomp"])
    myself = os.getpid()
    while True:
        try:
            size, kind, number, _ = REQUEST.unpack(read_exactly(requests, REQUEST.size))
        except EOFError:
            os._exit(0)
        if kind == PING:
            write_all(replies, REPLY.pack(number, OK, 0.0, 0, 0))
            continue
        child = os.fork()
        if child == 0:
            try:
                program: Program = json.loads(read_exactly(requests, size))
                os.close(requests)
                _confine(program, program_filter, myself)
                _run(program, number, replies)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        write_all(replies, REPLY.pack(number, ENDED, 0.0, 0, 0))


def _confine(program: Program, program_filter: bytes, parent: int) -> None:
    lockdown.die_with_parent(parent)
    if "stdin" in program:  # files in memory and not pipes: a program may read and write them in any way it likes
        for descriptor, content in ((0, program["stdin"].encode("utf-8", "replace")), (1, b"")):
            file = os.memfd_create("standard")
            write_all(file, content)
            os.lseek(file, 0, os.SEEK_SET)
            os.dup2(file, descriptor)
            os.close(file)
    # Behind the input, which may be longer. Nothing but those two files can be written at all.
    lockdown.set_limits({"CPU": program["cpu_s"], "FSIZE": MAX_VALUE_BYTES + 1})
    lockdown.load_filter(program_filter)
    random.seed(0)


def _run(program: Program, number: int, replies: int) -> None:
    module = types.ModuleType("__main__" if "stdin" in program else "program")
    sys.modules[module.__name__] = module
    if "stdin" in program:
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8", errors="replace")
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8", errors="replace")
        _reply(replies, number, *_printed(program["source"], module))
        return
    sys.stdin, sys.stdout = io.StringIO(), io.StringIO()
    failed = _attempt(lambda: exec(compile(program["source"], SOURCE_NAME, "exec"), module.__dict__))
    for test in program["tests"]:
        _reply(replies, number, *(failed or _answer(test, module)))


def _printed(source: str, module: types.ModuleType) -> tuple[int, str]:
    failed = None
    try:
        exec(compile(source, SOURCE_NAME, "exec"), module.__dict__)
    except SystemExit:
        pass  # a way to end; what counts is what was printed
    except BaseException as error:
        failed = _told(error)
    failed = failed or _attempt(sys.stdout.flush)
    if failed:
        return failed
    written = os.pread(1, MAX_VALUE_BYTES + 1, 0)
    return (TOO_LARGE, "") if len(written) > MAX_VALUE_BYTES else (VALUE, written.decode("utf-8", "replace"))


def _answer(test: dict[str, Any], module: types.ModuleType) -> tuple[int, str]:
    """The value of a call, as JSON text; of an assertion, true."""
    answer = "true"

    def run() -> None:
        nonlocal answer
        if "assertion" in test:
            exec(compile(test["assertion"], "<test>", "exec"), module.__dict__)
        else:
            function = module.__dict__[test["call"]]
            arguments, named = values.load(test["args"]), values.load(test["kwargs"])
            answer = values.dump(function(*arguments, **named))

    failed = _attempt(run)
    return failed or ((TOO_LARGE, "") if len(answer) > MAX_VALUE_BYTES else (VALUE, answer))


def _attempt(run: Any) -> tuple[int, str] | None:
    try:
        run()
    except BaseException as error:
        return _told(error)
    return None


def _told(error: BaseException) -> tuple[int, str]:
    if isinstance(error, MemoryError):
        return MEMORY_LIMIT, "the program needs more memory than it may have"
    return EXCEPTION, describe(error, SOURCE_NAME)


def _reply(replies: int, number: int, outcome: int, text: str) -> None:
    said = cut(text, MAX_VALUE_BYTES if outcome == VALUE else MAX_TEXT_BYTES)
    write_all(replies, REPLY.pack(number, outcome, 0.0, len(said), 0) + said)


if __name__ == "__main__":
    main(read_config())
