from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from fettle_graders.compile import compile_grader
from fettle_graders.grade import Grade
from fettle_graders.math_process import MathPool
from fettle_graders.sample import Sample
from fettle_graders.sandbox.pool import shared_sandbox
from fettle_graders.sandbox.tenant import CodeSandbox
from fettle_graders.services import Services
from fettle_graders.spec import parse_grader

# A busy machine is no failure, and the same examples every time leave no surprises to somebody else's change.
settings.register_profile("graders", deadline=None, derandomize=True, database=None)
settings.load_profile("graders")


@pytest.fixture(scope="session")
def math_pool() -> Iterator[MathPool]:
    with MathPool(cpu_s=10, wall_s=60) as pool:
        yield pool


@pytest.fixture
def grade(math_pool: MathPool):
    """Parse, compile and grade in one go."""

    def grade_(spec: dict[str, Any], item: dict[str, Any], text: str, **fields: Any) -> Grade:
        grader = compile_grader(
            parse_grader(spec), Services(math=math_pool.score, sandbox=CodeSandbox(shared_sandbox()))
        )
        return grader.grade(item, Sample(text, **fields))

    return grade_
