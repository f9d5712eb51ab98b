"""Advice on a python grader's source."""

import pytest

from fettle_graders.python_source import line_that_runs_text

GRADE = "def grade(sample, item):\n    "


@pytest.mark.parametrize(
    "call",
    [
        "exec(sample['output_text'])",
        "return eval(sample['output_text'])",
        "builtins.exec(x)",
        "exec(compile(x, '', 'exec'))",
    ],
)
def test_text_that_is_run_is_found_with_its_line(call: str) -> None:
    assert line_that_runs_text(GRADE + call) == 2


@pytest.mark.parametrize(
    "source",
    [
        GRADE + "return 1",
        GRADE + "return eval('1 + 1')",
        "import re\n" + GRADE + "return bool(re.compile(item['p']).search(sample['output_text']))",
        GRADE + "return model.eval(sample)",
        "def grade(sample, item)",
        "(" * 5000,
        "\0",
    ],
)
def test_nothing_else_is(source: str) -> None:
    assert line_that_runs_text(source) is None
