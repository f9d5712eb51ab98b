"""Kinds that run code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from fettle_graders.kinds.base import Frozen, GraderBase, Number, TemplateText

MAX_SOURCE_BYTES = 256 * 1024
MAX_TESTS = 200
MAX_ASSERTION_CHARS = 4000


class PythonSpec(GraderBase):
    """The user's `grade(sample, item)`."""

    type: Literal["python"]
    source: str
    image_tag: str | None = None
    pass_threshold: Number | None = None

    @field_validator("source")
    @classmethod
    def _limit_source(cls, source: str) -> str:
        num_bytes = len(source.encode("utf-8", "replace"))
        if num_bytes >= MAX_SOURCE_BYTES:
            raise ValueError(f"the source has {num_bytes} bytes; it must be smaller than {MAX_SOURCE_BYTES}")
        return source


class StdinTest(Frozen):
    """The program is run with this input; what it prints is compared line by line."""

    stdin: str = ""
    stdout: str


class CallTest(Frozen):
    """A function of the program is called; what it returns is compared by type and value."""

    call: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$", max_length=200)]
    args: list[Any] = Field(default_factory=list)
    kwargs: dict[str, Any] = Field(default_factory=dict)
    expected: Any


class AssertTest(Frozen):
    """`assert f(1) == 2`: read as a call where its form allows, else weak."""

    assertion: Annotated[str, Field(max_length=MAX_ASSERTION_CHARS)]


Test = StdinTest | CallTest | AssertTest


def read_tests(data: Any) -> tuple[Test, ...]:
    """Tests as a row or a grader holds them; any JSON value, hence `Any`.

    A list of tests, of which an assertion may be a bare string, or the form of APPS: `inputs`, `outputs` and maybe
    `fn_name`.

    Raises:
        ValueError: with the position of the test that is wrong, what was found and what was expected.
    """
    tests = data
    if isinstance(data, dict):
        inputs, outputs, name = data.get("inputs"), data.get("outputs"), data.get("fn_name")
        if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
            raise ValueError("expected a list of tests, or inputs and outputs of the same number")
        keys = ("stdin", "stdout") if name is None else ("args", "expected")
        tests = [
            dict(zip(keys, pair, strict=True)) | ({"call": name} if name else {})
            for pair in zip(inputs, outputs, strict=True)
        ]
    if isinstance(tests, tuple) and all(isinstance(test, Test) for test in tests):
        return tests
    if not isinstance(tests, list | tuple) or not 1 <= len(tests) <= MAX_TESTS:
        found = f"{len(tests)} tests" if isinstance(tests, list | tuple) else f"a {type(tests).__name__}"
        raise ValueError(f"expected a list of 1 to {MAX_TESTS} tests, found {found}")
    return tuple(_read_test(position, test) for position, test in enumerate(tests))


def _read_test(position: int, test: Any) -> Test:
    if isinstance(test, str):
        test = {"assertion": test}
    keys = set(test) if isinstance(test, dict) else set()
    models: dict[str, type[Test]] = {"stdout": StdinTest, "call": CallTest, "assertion": AssertTest}
    model = next((models[key] for key in models if key in keys), None)
    if model is None:
        found = f"the keys {', '.join(sorted(map(str, keys)))}" if keys else f"a {type(test).__name__}"
        raise ValueError(
            f"test {position}: found {found}; expected stdin and stdout, or call, args and expected, or an assertion"
        )
    try:
        return model.model_validate(
            {key: _joined(test[key]) if key in ("stdin", "stdout") else test[key] for key in keys}
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"test {position}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _joined(text: Any) -> Any:
    """APPS has some texts as lists of lines."""
    return "\n".join(map(str, text)) if isinstance(text, list) else text


class CodeSpec(GraderBase):
    """The share of tests that a program in `input` passes. Fettle's own.

    `tests` is a list of tests, or a template that becomes the JSON text of one, such as `{{item.tests}}`.
    """

    type: Literal["code"]
    input: TemplateText = "{{sample.output_text}}"
    tests: TemplateText | tuple[Test, ...]
    scoring: Literal["share", "all"] = "share"
    timeout_s: Annotated[float, Field(gt=0, le=30, allow_inf_nan=False)] = 6.0
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 1e-6
    allow_weak_tests: bool = False

    @field_validator("tests", mode="before")
    @classmethod
    def _read_tests(cls, tests: Any) -> Any:
        return tests if isinstance(tests, str) else read_tests(tests)

    @model_validator(mode="after")
    def _strong_tests(self) -> CodeSpec:
        # Here and not at the top: reading assertions needs these models.
        from fettle_graders.code_tests import prepare_tests

        if not isinstance(self.tests, str):
            prepare_tests(self.tests, tolerance=self.tolerance, allow_weak=self.allow_weak_tests)
        return self

    def templates(self) -> Iterator[str]:
        yield self.input
        if isinstance(self.tests, str):
            yield self.tests
