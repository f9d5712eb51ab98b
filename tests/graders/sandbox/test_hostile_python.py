"""Values and exceptions made to confuse whoever takes them, and what a call leaves behind for the next one."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from fettle_graders.sandbox.failure import CodeFailure
from fettle_graders.sandbox.jail.frames import MAX_TEXT_BYTES
from fettle_graders.sandbox.pool import Sandbox

pytestmark = pytest.mark.timeout(60)

Attempt = Callable[..., tuple[str, float | str]]

VALUES = """
import collections, decimal, enum, fractions, numpy, types
class Evil(float):
    __class__ = property(lambda self: 1 / 0)
    def __float__(self): raise SystemExit
    def __sub__(self, other): raise SystemExit
    __rsub__ = __bool__ = __eq__ = __hash__ = __repr__ = __str__ = __index__ = __float__
class EvilInt(int):
    def __int__(self): raise KeyboardInterrupt
    __float__ = __index__ = __repr__ = __int__
class Numpy(numpy.float64):
    def item(self): return 9.0
    __float__ = item
class Half(numpy.float16):
    def item(self): return 9.0
class Meta(type):
    def __instancecheck__(cls, one): return True
    def __subclasscheck__(cls, one): return True
    def __getattribute__(cls, name): raise SystemExit
    def mro(cls): return [cls, object]
class Pretender(metaclass=Meta):
    def __float__(self): return 1.0
class Order(type):
    def mro(cls): return [cls, float, object]
class Ordered(float, metaclass=Order): pass
class Colour(enum.IntEnum): RED = 3
async def later(): return 1.0
def made():
    yield 1.0
VALUES = dict(
    evil=lambda: Evil(0.5), evil_int=lambda: EvilInt(3), numpy=lambda: Numpy(0.5), half=lambda: Half(0.5),
    ordered=lambda: Ordered(0.25), enumerated=lambda: Colour.RED, small=lambda: 5e-324, zero=lambda: -0.0,
    boolean=lambda: numpy.bool_(True), unsigned=lambda: numpy.uint8(255),
    pretender=Pretender, decimal=lambda: decimal.Decimal("0.5"), fraction=lambda: fractions.Fraction(1, 2),
    array=lambda: numpy.array(0.5), masked=lambda: numpy.ma.masked, wide=lambda: numpy.longdouble("1e400"),
    nan=lambda: numpy.float32("nan"), span=lambda: numpy.timedelta64(1, "s"), complex=lambda: numpy.complex64(1),
    huge=lambda: 10 ** 5000, just_too_large=lambda: 2 ** 1024, minus_infinite=lambda: -1e308 * 10,
    generator=made, coroutine=later, function=lambda: made, module=lambda: types, kind=lambda: float,
    bytes=lambda: b"1", text=lambda: "1", none=lambda: None, all=lambda: NotImplemented, dots=lambda: ...,
)
def grade(sample, item):
    return VALUES[item["value"]]()
"""
SCORES = {
    "evil": 0.5,
    "evil_int": 3.0,
    "numpy": 0.5,
    "half": 0.5,
    "ordered": 0.25,
    "enumerated": 3.0,
    "small": 5e-324,
    "zero": 0.0,
    "boolean": 1.0,
    "unsigned": 255.0,
}
NO_SCORES = [
    "pretender",
    "decimal",
    "fraction",
    "array",
    "masked",
    "wide",
    "nan",
    "span",
    "complex",
    "huge",
    "just_too_large",
    "minus_infinite",
    "generator",
    "coroutine",
    "function",
    "module",
    "kind",
    "bytes",
    "text",
    "none",
    "all",
    "dots",
]


def test_a_value_is_taken_for_what_it_is_or_for_no_score(attempt: Attempt) -> None:
    for name, score in SCORES.items():
        assert attempt(VALUES, json.dumps({"value": name})) == ("ok", score), name
    for name in NO_SCORES:
        code, message = attempt(VALUES, json.dumps({"value": name}))
        assert code == "invalid_return", (name, message)


def test_a_module_that_pretends_to_be_numpy_makes_no_scores(attempt: Attempt) -> None:
    source = """
import sys, types
class Number:
    def item(self): return 9.0
sys.modules["numpy"] = types.SimpleNamespace(floating=Number, integer=Number, bool_=Number)
def grade(sample, item): return Number() if item["n"] == 2 else 0.5
"""
    assert attempt(source)[0] in ("exception", "invalid_return")


EXCEPTIONS = """
import builtins
class Text(str):
    def __getitem__(self, key): raise KeyboardInterrupt
    def encode(self, *how): return b"x" * 10 ** 7
    def __len__(self): return 5
class ByText(Exception):
    def __init__(self, answer): self.answer = answer
    def __str__(self): return self.answer()
def leave(): raise SystemExit(0)
def forever(): raise ByText(forever)
def syntax():
    error = SyntaxError("x")
    error.filename, error.lineno, error.msg = "<grader>", "9" * 10 ** 6, "y" * 10 ** 6
    return error
def chain():
    last = None
    for n in range(10_000):
        error = ValueError(n)
        error.__cause__ = error.__context__ = last
        last = error
    return last
def circle():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    return one
def deep(n):
    if n: deep(n - 1)
    1 / 0
class Memory(MemoryError):
    def __str__(self): raise self
EXCEPTIONS = dict(
    leaving=lambda: ByText(leave), endless=lambda: ByText(forever), number=lambda: ByText(lambda: 3),
    odd_text=lambda: ByText(lambda: Text("hello")), long_text=lambda: ByText(lambda: "z" * 10 ** 7),
    colour=lambda: ValueError("a\\0b\\x1b[2J\\u2028\\u202e\\ud800"), syntax=syntax, chain=chain, circle=circle,
    group=lambda: BaseExceptionGroup("many", [KeyboardInterrupt(), SystemExit(3)]), exit=SystemExit, memory=Memory,
    interrupt=KeyboardInterrupt, generator=GeneratorExit, stop=lambda: StopIteration(1.0), recursion=RecursionError,
    deep=lambda: deep(900), missing=lambda: ModuleNotFoundError("z" * 10 ** 6), no_exception=lambda: object(),
)
def grade(sample, item):
    if item["case"] == "honest":
        return item["n"] / 8
    raise EXCEPTIONS[item["case"]]()
"""
CASES = [
    "leaving",
    "endless",
    "number",
    "odd_text",
    "long_text",
    "colour",
    "syntax",
    "chain",
    "circle",
    "group",
    "exit",
    "memory",
    "interrupt",
    "generator",
    "stop",
    "recursion",
    "deep",
    "missing",
    "no_exception",
]


def test_an_exception_of_any_make_is_one_calls_failure(attempt: Attempt) -> None:
    for case in CASES:
        code, message = attempt(EXCEPTIONS, json.dumps({"case": case}))
        assert code == ("memory_limit" if case == "memory" else "exception"), (case, message)
        assert isinstance(message, str)
        assert len(message.encode()) <= MAX_TEXT_BYTES
        assert all(c.isprintable() or c in "\n\t" for c in message), (case, message)
        assert attempt(EXCEPTIONS, '{"case": "honest", "n": 3}') == ("ok", 0.375), case


LEFT_BEHIND = """
import atexit, builtins, gc, json, mmap, os, signal, socket, struct, sys, threading, time, weakref
kept = []
def raising(*_): raise KeyboardInterrupt
def call():
    up = sys._getframe(3)
    return up.f_locals["requests"], up.f_locals["replies"], up.f_locals["number"], up.f_globals
def at_call(frame, event, _):
    if event == "call" and frame.f_code.co_name == "grade": raise KeyboardInterrupt
def trace(): sys.settrace(at_call); threading.settrace(at_call)
def profile(): sys.setprofile(at_call)
def collector(): gc.callbacks.append(raising); gc.set_threshold(1)
def finalizer():
    class Left:
        def __del__(self): raise SystemExit
    one = Left(); one.itself = one
    weakref.finalize(one, raising); atexit.register(time.sleep, 1e6)
def timers():
    signal.signal(signal.SIGALRM, raising); signal.setitimer(signal.ITIMER_REAL, 0.02, 0.001)
    signal.signal(signal.SIGVTALRM, raising); signal.setitimer(signal.ITIMER_VIRTUAL, 0.01, 0.01)
    signal.signal(signal.SIGPROF, raising); signal.setitimer(signal.ITIMER_PROF, 0.01, 0.01)
def descriptors():
    try:
        while True: kept.append(os.open("/dev/null", os.O_RDONLY))
    except OSError: pass
def limits():
    import resource
    for kind in (resource.RLIMIT_CPU, resource.RLIMIT_NOFILE, resource.RLIMIT_AS):
        try: resource.setrlimit(kind, (3, 3))
        except (OSError, ValueError): pass
def no_requests(): os.close(call()[0])
def pipes_swapped(): os.dup2(call()[0], call()[1])
def not_waiting(): os.set_blocking(call()[0], False); os.set_blocking(call()[1], False)
def parser(): json.loads = lambda *_: ({"output_text": ""}, {"case": "honest", "n": 8})
def words(): call()[3]["describe"] = raising; call()[3]["_restore"] = raising
def output(): type(sys.stdout).first = raising
def builtin(): builtins.len = builtins.memoryview = raising
def memory():  # the room for it, and none of it in use
    try:
        while True: kept.append(mmap.mmap(-1, 1 << 20))
    except OSError: pass
def leaving_later():
    threading.Thread(target=lambda: (time.sleep(0.05), os._exit(0)), daemon=True).start()
def answered_and_asleep():
    os.write(call()[1], struct.pack("<QBdII", call()[2], 1, 0.5, 0, 0)); time.sleep(1e6)
def unknown_reply(): call()[3]["number_of"] = lambda value: (6, 1.0, "\\x1b" * 60_000)
def grade(sample, item):
    if item["case"] != "honest":
        globals()[item["case"]]()
        return 0.5
    os.close(os.open("/dev/null", os.O_RDONLY))
    bytearray(8 << 20)
    return item["n"] / 8
"""
LEFT = [
    "trace",
    "profile",
    "collector",
    "finalizer",
    "timers",
    "descriptors",
    "limits",
    "no_requests",
    "pipes_swapped",
    "not_waiting",
    "words",
    "output",
    "builtin",
    "memory",
    "leaving_later",
    "answered_and_asleep",
]


@pytest.mark.parametrize("case", LEFT)
def test_what_a_call_leaves_behind_costs_no_other_call_its_score(attempt: Attempt, case: str) -> None:
    """The same grader's next completions too: the model must not be able to spoil its neighbours' grades."""
    source = f"{LEFT_BEHIND}# {case}\n"
    code, found = attempt(source, json.dumps({"case": case}))
    assert code in ("ok", "crashed", "timeout"), found  # it did what it is here for
    for n in (1, 2, 3):
        assert attempt(source, json.dumps({"case": "honest", "n": n})) == ("ok", n / 8)


def test_a_reply_of_an_unknown_kind_carries_no_words_of_the_code(abused: tuple[Sandbox, Sandbox]) -> None:
    body = b'[{"output_text": ""}, {"case": "%s", "n": 1}]'
    abused[0].grade("org", LEFT_BEHIND, body % b"unknown_reply")
    with pytest.raises(CodeFailure) as refused:
        abused[0].grade("org", LEFT_BEHIND, body % b"honest")
    assert (refused.value.code, refused.value.message) == (
        "protocol_violation",
        "it sent a reply of the unknown kind 6",
    )


def test_another_organization_finds_nothing_of_it(attempt: Attempt, abused: tuple[Sandbox, Sandbox]) -> None:
    """The same source, so that only the organization tells them apart."""
    source = """
import builtins, os, sys
def grade(sample, item):
    found = hasattr(builtins, "secret") + ("SECRET" in os.environ) + hasattr(sys, "secret") + ("left" in sys.modules)
    builtins.secret = sys.secret = os.environ["SECRET"] = "x"; sys.modules["left"] = sys
    return found
"""
    assert attempt(source) == ("ok", 0.0)
    assert attempt(source) == ("ok", 4.0)
    assert abused[0].grade("another", source, b'[{"output_text": ""}, {"n": 2}]').score == 0.0
