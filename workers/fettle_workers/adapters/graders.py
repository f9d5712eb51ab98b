"""Grades completions on this machine: cheap kinds in this process, mathematical answers in bounded child processes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from fettle_graders.grade import Grade, compile_grader
from fettle_graders.math_process import MathPool
from fettle_graders.sample import Sample
from fettle_graders.spec import GraderSpec, MathSpec, MultiSpec


class InProcessGraderRunner:
    """The engine's `GraderRunner`. Close it, or use it in a `with` block: it may own child processes.

    Args:
        num_processes: how many mathematical answers are compared at once. No child starts for other kinds.
        cpu_s: processor time for one mathematical comparison; beyond it the grade is a failure.
        wall_s: the same by the clock.

    Raises:
        UnsupportedGraderError: the grader, or one inside it, cannot run on this machine.
    """

    def __init__(self, spec: GraderSpec, *, num_processes: int = 1, cpu_s: float = 5.0, wall_s: float = 30.0) -> None:
        self._pool = MathPool(size=num_processes, cpu_s=cpu_s, wall_s=wall_s)
        self._grader = compile_grader(spec, math_score=self._pool.score)
        self._threads = ThreadPoolExecutor(num_processes, "grade") if _has_math(spec) and num_processes > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def grade(self, items: Sequence[tuple[dict[str, Any], Sample]]) -> list[Grade]:
        """One grade for each (dataset row, completion), in their order. A failed one has a score of None."""
        if self._threads is None:
            return [self._grader.grade(item, sample) for item, sample in items]
        return list(self._threads.map(lambda pair: self._grader.grade(*pair), items))

    def close(self) -> None:
        """End every child process, also busy ones. Calling it again is fine."""
        self._pool.close()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)


def _has_math(spec: GraderSpec) -> bool:
    graders = spec.graders.values() if isinstance(spec, MultiSpec) else (spec,)
    return any(isinstance(grader, MathSpec) for grader in graders)
