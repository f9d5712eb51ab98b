"""`code`: a program that the model wrote, judged by tests it never sees."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fettle_graders.code_tests import ReadTest, prepare_tests
from fettle_graders.errors import GradeFailure
from fettle_graders.grade import Scored, ScoreOne
from fettle_graders.kinds.code import MAX_SOURCE_BYTES, CodeSpec, read_tests
from fettle_graders.sample import Sample
from fettle_graders.sandbox.programs import Ran, run_program
from fettle_graders.sandbox.tenant import CodeSandbox
from fettle_graders.template import parse_template

TOTAL_S = 30.0
_FENCE = re.compile(
    r"^[ \t]*```[ \t]*(?P<language>[\w+-]*)[^\n]*\n(?P<code>.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE
)


def code_score(spec: CodeSpec, sandbox: CodeSandbox) -> ScoreOne:
    """A program that fails its tests, in whatever way, is a low score; tests that cannot be used are a failure."""
    text = parse_template(spec.input)
    template = parse_template(spec.tests if isinstance(spec.tests, str) else "")
    given = () if isinstance(spec.tests, str) else spec.tests
    ready = prepare_tests(given, tolerance=spec.tolerance, allow_weak=spec.allow_weak_tests)

    def score_one(item: Mapping[str, Any], sample: Sample) -> Scored:
        read = ready or _tests_of_row(spec, template.render(item, sample))
        ran = _run(extract_program(text.render(item, sample)), read, spec, sandbox)
        passed = [one.outcome == "value" and test.passes(one.text) for test, one in zip(read, ran, strict=True)]
        score = sum(passed) / len(passed) if spec.scoring == "share" else float(all(passed))
        shown = [
            {"outcome": _outcome(ok, one), "seconds": round(one.seconds, 4)} | ({"weak": True} if test.is_weak else {})
            for ok, test, one in zip(passed, read, ran, strict=True)
        ]
        return Scored(score, message=_message(passed, read, ran), notes=sandbox.notes() | {"tests": shown})

    return score_one


def extract_program(text: str) -> str:
    """The last fenced block of Python, else the last one without a language or of any, else the whole text."""
    blocks = [(block["language"].lower(), block["code"]) for block in _FENCE.finditer(text)]
    python = [code for language, code in blocks if language in ("python", "python3", "py")]
    return (python or [code for _, code in blocks] or [text])[-1]


def _run(program: str, tests: list[ReadTest], spec: CodeSpec, sandbox: CodeSandbox) -> list[Ran]:
    num_bytes = len(program.encode("utf-8", "replace"))
    if num_bytes >= MAX_SOURCE_BYTES:
        return [Ran("too_large", f"the program has {num_bytes} bytes; at most {MAX_SOURCE_BYTES}", 0.0)] * len(tests)
    # Programs that are run whole and those whose functions are called do not mix in one process.
    ran: dict[int, Ran] = {}
    for whole in (True, False):
        places = [place for place, test in enumerate(tests) if ("stdin" in test.given) is whole]
        inputs = [tests[place].given for place in places]
        found = run_program(
            sandbox.sandbox, sandbox.organization, program, inputs, timeout_s=spec.timeout_s, total_s=TOTAL_S
        )
        ran.update(zip(places, found, strict=True))
    return [ran[place] for place in range(len(tests))]


def _tests_of_row(spec: CodeSpec, text: str) -> list[ReadTest]:
    try:
        tests = read_tests(json.loads(text))
        return prepare_tests(tests, tolerance=spec.tolerance, allow_weak=spec.allow_weak_tests)
    except (ValueError, RecursionError) as error:
        raise GradeFailure("other_error", f"the row's tests: {error}"[:1000]) from None


def _outcome(passed: bool, ran: Ran) -> str:
    if ran.outcome != "value":
        return ran.outcome
    return "passed" if passed else "wrong"


def _message(passed: list[bool], tests: list[ReadTest], ran: list[Ran]) -> str:
    """For people: how many tests passed, and what the first of the others did."""
    text = f"{sum(passed)} of {len(passed)} tests passed"
    weak = sum(test.is_weak for test in tests)
    text += f", {weak} of them weak" if weak else ""
    if all(passed):
        return text
    place = passed.index(False)
    test, one = tests[place], ran[place]
    found = (
        f"expected {test.expected}, found {one.text[:200]}" if one.outcome == "value" else f"{one.outcome}: {one.text}"
    )
    return f"{text}; test {place}: {found}"[:1000]
