"""Grades completions on this machine: cheap kinds in this process, mathematics and users' code in child processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from fettle_graders.compile import compile_grader
from fettle_graders.grade import Grade
from fettle_graders.math_process import MathPool
from fettle_graders.sample import Sample
from fettle_graders.sandbox.pool import Sandbox
from fettle_graders.sandbox.tenant import CodeSandbox
from fettle_graders.sandbox.tiers import Tier, tiers_from
from fettle_graders.services import Services
from fettle_graders.spec import GraderSpec, MajoritySpec, MathSpec, MultiSpec, needed_service, needs_group

_WAITING = 16  # completions that wait for a judge or a remote grader at once
_MAX_SANDBOX_WORKERS = 4


class InProcessGraderRunner:
    """The engine's `GraderRunner`. Close it, or use it in a `with` block: it may own child processes.

    Args:
        services: what the grader may use beside mathematics and code, for which the runner has children of its own.
        num_processes: how many mathematical answers are compared at once. No child starts for other kinds.
        cpu_s: processor time for one mathematical comparison; beyond it the grade is a failure.
        wall_s: the same by the clock.
        sandbox_min_tier: the weakest sandbox that may run code.

    Raises:
        UnsupportedGraderError: the grader, or one inside it, cannot run on this machine.
    """

    def __init__(
        self,
        spec: GraderSpec,
        services: Services | None = None,
        *,
        num_processes: int = 1,
        cpu_s: float = 5.0,
        wall_s: float = 30.0,
        sandbox_min_tier: Tier = "lockdown",
    ) -> None:
        self._pool = MathPool(size=num_processes, cpu_s=cpu_s, wall_s=wall_s)
        size = min(os.cpu_count() or 1, _MAX_SANDBOX_WORKERS)
        self._sandbox = Sandbox(size=size, tiers=tiers_from(sandbox_min_tier))  # starts nothing before its use
        mine = {"math": self._pool.score, "sandbox": CodeSandbox(self._sandbox)}
        self._grader = compile_grader(spec, replace(services or Services(), **mine))  # type: ignore[arg-type]
        num_threads = _num_threads(spec, num_processes, self._sandbox.size)
        self._threads = ThreadPoolExecutor(num_threads, "grade") if num_threads else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def needs_group(self) -> bool:
        return needs_group(self._grader.spec)

    def submit(self, item: dict[str, Any], samples: Sequence[Sample]) -> Callable[[], list[Grade]]:
        """See `GraderRunner`. What only computes is graded before this returns: a thread would take the caller's time.

        Raises:
            SandboxFault: from what is returned: code cannot be run here now. Nothing was graded wrongly, and none of
                these were graded.
        """
        if self._threads is not None:
            return self._threads.submit(self._grader.grade_group, item, samples).result
        grades = self._grader.grade_group(item, samples)
        return lambda: grades

    def close(self) -> None:
        """End every child process, also busy ones. Calling it again is fine."""
        self._pool.close()
        self._sandbox.close()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)


def _num_threads(spec: GraderSpec, num_processes: int, num_sandboxes: int) -> int:
    """How many completions may wait at once for something outside this process; 0 when nothing does."""
    graders = spec.graders.values() if isinstance(spec, MultiSpec) else (spec,)
    if any(needed_service(grader) == "sandbox" for grader in graders):
        num_processes = max(num_processes, num_sandboxes)
    if any(needed_service(grader) in ("judge", "http") for grader in graders):
        return max(_WAITING, num_processes)
    in_processes = any(
        isinstance(grader, MathSpec | MajoritySpec) or needed_service(grader) == "sandbox" for grader in graders
    )
    return num_processes if in_processes else 0
