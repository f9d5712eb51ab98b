"""Graders that mean harm. Each fails alone, in time; the next grader's score is right; nothing is left behind."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from fettle_graders.sandbox.pool import Sandbox

Attempt = Callable[..., tuple[str, float | str]]

pytestmark = pytest.mark.timeout(60)

FAR_BELOW_S = 15.0  # what hangs has a second; the bound leaves room for a machine with many other things to do
HONEST = "def grade(sample, item):\n    return item['n'] / 8\n"
BODY = "def grade(sample, item):\n    "
FRAME = "import struct, os, sys\n"
# What a grader can find out about the call it is in: the runner's frame above it.
MINE = "    up = sys._getframe(1); number, fd = up.f_locals['number'], up.f_locals['replies']\n"
REPLY = "struct.Struct('<QBdII').pack"
FAILING: dict[str, tuple[str, set[str]]] = {
    "a loop in C": (
        "import collections, itertools\n" + BODY + "collections.deque(itertools.repeat(0), maxlen=0)",
        {"timeout"},
    ),
    "a loop that catches everything": (
        BODY + "while True:\n        try:\n            while True: pass\n        except BaseException: pass",
        {"timeout"},
    ),
    "a number too large to compute": (BODY + "return len(str(9**9**9))", {"timeout", "memory_limit"}),
    "a pattern that backtracks": (
        "import re\n" + BODY + "return bool(re.match(r'(a+)+$', 'a' * 60 + 'b'))",
        {"timeout"},
    ),
    "ignored and blocked signals": (
        "import signal\n" + BODY + "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))\n    while True: pass",
        {"timeout"},
    ),
    "sleeping": ("import time\n" + BODY + "time.sleep(1e9)", {"timeout"}),
    "waiting for a lock": ("import threading\n" + BODY + "threading.Semaphore(0).acquire()", {"timeout"}),
    "a memory bomb": (BODY + "x = []\n    while True: x.append(bytearray(1 << 20))", {"memory_limit"}),
    "a string that doubles": (BODY + "x = 'x'\n    while True: x += x", {"memory_limit"}),
    "memory mapped and shared": (
        "import mmap\n" + BODY + "x = []\n    while True: x.append(mmap.mmap(-1, 1 << 26))",
        {"exception", "memory_limit"},
    ),
    "a memory bomb that catches": (
        BODY + "x = []\n    while True:\n        try:\n            x.append(bytearray(1 << 16))\n"
        "        except MemoryError: pass",
        {"timeout", "crashed", "memory_limit"},
    ),
    "endless recursion": (BODY + "return grade(sample, item)", {"exception"}),
    "endless recursion without a limit": (
        "import sys\nclass A:\n    def __repr__(self): return repr(self)\n"
        + BODY
        + "sys.setrecursionlimit(10**9)\n    return repr(A())",
        {"crashed", "memory_limit"},
    ),
    "a fork bomb": ("import os\n" + BODY + "while True: os.fork()", {"exception"}),
    "a shell": ("import os\n" + BODY + "return 1.0 if os.system('true') == 0 else 1 / 0", {"exception"}),
    "a process pool": (
        "import concurrent.futures as c\n" + BODY + "return sum(c.ProcessPoolExecutor(2).map(abs, [1]))",
        {"exception"},
    ),
    "printing without end": (BODY + "while True: print('x' * 10**6)", {"timeout"}),
    "writing to descriptor 1 without end": (
        "import os\n" + BODY + "while True: os.write(1, b'x' * 10**6)",
        {"timeout"},
    ),
    "leaving the process": ("import os\n" + BODY + "os._exit(0)", {"crashed"}),
    "aborting": ("import os\n" + BODY + "os.abort()", {"crashed"}),
    "a null pointer": ("import ctypes\n" + BODY + "ctypes.string_at(0)", {"crashed"}),
    "leaving with a status": (BODY + "raise SystemExit(0)", {"exception"}),
    "an interrupt": (BODY + "raise KeyboardInterrupt", {"exception"}),
    "an exit in a generator": (BODY + "raise GeneratorExit", {"exception"}),
    "garbage on every descriptor": (
        FRAME
        + BODY
        + "for fd in range(3, 64):\n        try: os.write(fd, b'garbage' * 100)\n        except OSError: pass",
        {"protocol_violation"},
    ),
    "a forged reply for another call": (
        FRAME + BODY + "pass\n" + MINE + f"    os.write(fd, {REPLY}(number ^ 1, 1, 1.0, 0, 0))\n    return 0.0",
        {"protocol_violation"},
    ),
    "a reply that claims a huge text": (
        FRAME + BODY + "pass\n" + MINE + f"    os.write(fd, {REPLY}(number, 1, 1.0, 2**31, 0))\n    return 0.0",
        {"protocol_violation"},
    ),
    "a reply that is not a number": (
        FRAME + BODY + "pass\n" + MINE + f"    os.write(fd, {REPLY}(number, 1, float('nan'), 0, 0))\n    return 0.0",
        {"protocol_violation"},
    ),
    "a reply that says it has just started": (
        FRAME + BODY + "pass\n" + MINE + f"    os.write(fd, {REPLY}(number, 0, 1.0, 0, 0))\n    return 0.0",
        {"protocol_violation"},
    ),
    "a reply of no known kind": (
        FRAME + BODY + "pass\n" + MINE + f"    os.write(fd, {REPLY}(number, 200, 1.0, 0, 0))\n    return 0.0",
        {"protocol_violation"},
    ),
    "half a reply": (
        FRAME + BODY + "pass\n" + MINE + f"    os.write(fd, {REPLY}(number, 1, 1.0, 0, 0)[:9])\n    while True: pass",
        {"timeout"},
    ),
    "closed descriptors": ("import os\n" + BODY + "os.closerange(0, 64)", {"crashed"}),
    "a patched writer": ("import os\n" + BODY + "os.write = lambda fd, data: 0\n    return 1", {"timeout"}),
    "a patched reply format": (
        FRAME + BODY + "sys._getframe(1).f_globals['REPLY'] = struct.Struct('<BQdII')\n    return 1",
        {"protocol_violation", "exception", "crashed"},
    ),
    "an exception without words": (
        "class E(Exception):\n    def __str__(self): raise E\n    __repr__ = __str__\n" + BODY + "raise E",
        {"exception"},
    ),
    "an exception of endless words": (
        "class E(Exception):\n    def __str__(self):\n        while True: pass\n" + BODY + "raise E",
        {"timeout"},
    ),
    "an exception of ten megabytes": (BODY + "raise ValueError('x' * 10**7)", {"exception"}),
    "an exception in colour": (BODY + "raise ValueError('\\x1b[31m\\x00\\x07\\u202e' + '\\ud800')", {"exception"}),
    "an exception with a false name": (
        "class M(type):\n    __name__ = property(lambda c: 1 / 0)\nclass E(Exception, metaclass=M): pass\n"
        + BODY
        + "raise E('x')",
        {"exception"},
    ),
    "a finalizer that sleeps": (
        "import time\nclass Left:\n    def __del__(self): time.sleep(1e6)\n" + BODY + "left = Left()\n    return 1",
        {"timeout"},
    ),
    "another interpreter in the process": (
        "import _xxsubinterpreters as x\n" + BODY + "x.run_string(x.create(), 'while True: pass')",
        {"timeout"},
    ),
    "the main thread gone, another one left": (
        "import ctypes, threading, time\n"
        + BODY
        + "threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()\n"
        "    ctypes.CDLL(None).pthread_exit(0)",
        {"timeout", "crashed"},
    ),
    "stopping itself": ("import os, signal\n" + BODY + "os.kill(os.getpid(), signal.SIGSTOP)", {"exception"}),
    "stopping its parent": ("import os, signal\n" + BODY + "os.kill(os.getppid(), signal.SIGSTOP)", {"exception"}),
    "a timer that kills": (
        "import signal\n" + BODY + "signal.setitimer(signal.ITIMER_REAL, 0.001)\n    while True: pass",
        {"crashed"},
    ),
    "calls by their 32-bit numbers": (
        "import ctypes, mmap\n"
        + BODY
        + "code = mmap.mmap(-1, 4096, prot=7)\n    code.write(b'\\xb8\\x02\\0\\0\\0\\xcd\\x80\\xc3')\n"
        "    ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()\n    return 1",
        {"crashed"},
    ),
    "replies without end": (
        FRAME + BODY + "pass\n" + MINE + "    while True: os.write(fd, b'\\0' * 65536)",
        {"protocol_violation"},
    ),
    "an exception that is no exception": (BODY + "raise 3", {"exception"}),
}


@pytest.mark.parametrize("name", FAILING)
def test_abuse_fails_alone_and_in_time(attempt: Attempt, name: str) -> None:
    source, codes = FAILING[name]
    start = time.monotonic()
    code, message = attempt(source, hangs="timeout" in codes)
    assert code in codes, message
    assert time.monotonic() - start < FAR_BELOW_S
    assert isinstance(message, str)
    assert len(message) < 2500
    assert all(c.isprintable() or c in "\n\t" for c in message), repr(message)
    start = time.monotonic()
    assert attempt(HONEST, '{"n": 3}', hangs="timeout" in codes) == ("ok", 0.375)
    assert time.monotonic() - start < FAR_BELOW_S


def test_the_clock_is_kept_from_outside(abused: tuple[Sandbox, Sandbox], attempt: Attempt) -> None:
    """At most 100 ms late, and 250 ms later somebody else has a score: the best of a few, on a busy machine."""
    loop, limit_s, seen = BODY + "while True: pass", abused[1].limits.call_s, []
    for _ in range(8):
        attempt(HONEST, hangs=True)
        start = time.monotonic()
        assert attempt(loop, hangs=True)[0] == "timeout"
        late_s = time.monotonic() - start - limit_s
        assert attempt(HONEST, hangs=True) == ("ok", 0.25)
        seen.append((late_s, time.monotonic() - start - limit_s - late_s))
        if late_s < 0.1 and seen[-1][1] < 0.25:
            return
    pytest.fail(f"late by, and until the next score, in seconds: {seen}")


def test_threads_and_descriptors_are_bounded(attempt: Attempt) -> None:
    threads = """
import threading, time
def grade(sample, item):
    n = 0
    try:
        while True:
            threading.Thread(target=time.sleep, args=(100,), daemon=True).start(); n += 1
    except RuntimeError:
        return n
"""
    code, num_threads = attempt(threads)
    assert code == "ok"
    assert num_threads < (64 if os.geteuid() == 0 else 600)
    descriptors = "import os\ndef grade(sample, item):\n    n = 0\n    try:\n        while True: os.pipe(); n += 2\n"
    code, num_files = attempt(descriptors + "    except OSError: return n")
    assert code == "ok"
    assert 0 < num_files <= 64
    assert attempt(HONEST) == ("ok", 0.25)


def test_a_thread_left_running_costs_the_worker_its_place(abused: tuple[Sandbox, Sandbox], attempt: Attempt) -> None:
    sandbox = abused[0]
    source = """
import os, threading
def spin():
    while True: pass
def grade(sample, item):
    threading.Thread(target=spin, daemon=True).start()
    return 1.0
"""
    for left_over in (source, source.replace("while True: pass", "threading.Event().wait()")):
        kept = {one.key for one in sandbox._idle}
        assert attempt(left_over) == ("ok", 1.0)
        assert {one.key for one in sandbox._idle} <= kept, "a worker with a thread too many was kept"
        assert not sandbox._busy
    assert attempt(HONEST) == ("ok", 0.25)
    at_load = (
        "import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin, daemon=True).start()\n"
    )
    assert attempt(at_load + HONEST) == ("ok", 0.25)
    first = sandbox._idle[-1].worker.pid
    deadline = time.monotonic() + 10
    while sandbox._idle[-1].worker.usage()[2] < sandbox._idle[-1].cpu_s + 0.05:  # it spins while nobody calls
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert attempt(at_load + HONEST) == ("ok", 0.25)
    assert sandbox._idle[-1].worker.pid != first


def test_a_second_reply_never_becomes_the_next_calls_score(attempt: Attempt) -> None:
    source = (
        FRAME
        + BODY
        + "if item['n'] != 7: return item['n'] / 8\n"
        + MINE
        + f"    forged = {REPLY}(number, 1, 1.0, 0, 0)\n    os.write(fd, forged + forged + forged)\n    return 0.5\n"
    )
    assert attempt(source, '{"n": 7}')[1] == 1.0  # a grader may lie about its own call
    for n in (1, 2, 3):
        assert attempt(source, f'{{"n": {n}}}') == ("ok", n / 8)


def test_a_late_reply_never_becomes_the_next_calls_score(attempt: Attempt) -> None:
    source = (
        "import threading, time\n"
        + FRAME
        + BODY
        + "if item['n'] != 7: return item['n'] / 8\n"
        + MINE
        + f"""
    def late():
        for _ in range(200):
            time.sleep(0.001)
            os.write(fd, {REPLY}(number, 1, 1.0, 0, 0))
    threading.Thread(target=late, daemon=True).start()
    return 0.5
"""
    )
    assert attempt(source, '{"n": 7}')[1] in (0.5, 1.0)  # a grader may lie about its own call
    for n in (1, 2, 3):
        assert attempt(source, f'{{"n": {n}}}') == ("ok", n / 8)


def test_a_timer_that_fires_between_calls_harms_no_call(attempt: Attempt) -> None:
    source = """
import signal
def boom(*_): raise RuntimeError("late")
def grade(sample, item):
    if item["n"] == 7:
        signal.signal(signal.SIGALRM, boom); signal.setitimer(signal.ITIMER_REAL, 0.02, 0.001)
    return item["n"] / 8
"""
    assert attempt(source, '{"n": 7}') == ("ok", 0.875)
    time.sleep(0.05)
    for n in (1, 2, 3):
        assert attempt(source, f'{{"n": {n}}}') == ("ok", n / 8)


def test_a_worker_that_reads_no_more_holds_the_host_up_no_longer_than_its_time(attempt: Attempt) -> None:
    source = (
        "import time\n"
        + FRAME
        + BODY
        + "if item['n'] != 7: return item['n'] / 8\n"
        + MINE
        + f"""
    os.write(fd, {REPLY}(number, 1, 1.0, 0, 0))
    time.sleep(1000)
"""
    )
    assert attempt(source, '{"n": 7}', hangs=True) == ("ok", 1.0)
    start = time.monotonic()
    code, message = attempt(source, '{"n": 1, "x": "%s"}' % ("y" * 1_000_000), hangs=True)
    assert code == "timeout", message
    assert time.monotonic() - start < FAR_BELOW_S
    assert attempt(source, '{"n": 1}', hangs=True) == ("ok", 0.125)
