"""Grading many answers while somebody waits: several at once, until the time is over."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any

from fettle_graders.compile import compile_grader
from fettle_graders.errors import SandboxFault
from fettle_graders.grade import Grade, GradeErrors, Grader
from fettle_graders.lab.scores import percentile
from fettle_graders.sample import Sample
from fettle_graders.spec import GraderSpec
from fettle_platform.accounts.scoping import Scope
from fettle_platform.graders.services import (
    grader_require_judges,
    grader_require_loadable,
    grader_require_supported,
    services_for,
)
from fettle_platform.lab.reports import GradingHealth

GRADING_S = 60.0
_AT_ONCE = 8
_NUM_MESSAGES = 5

Job = tuple[Mapping[str, Any], Sequence[Sample]]  # a row and its answers


@dataclass(frozen=True)
class Graded:
    """`grades[i]` are those of the i-th row's answers; None: the time was over before its turn."""

    grades: list[list[Grade] | None]
    seconds: float

    @property
    def is_complete(self) -> bool:
        return all(group is not None for group in self.grades)

    @property
    def every(self) -> list[Grade]:
        return [grade for group in self.grades if group is not None for grade in group]


def grade_all(scope: Scope, spec: GraderSpec, work: Sequence[Job], *, limit_s: float = GRADING_S) -> Graded:
    """Grade the answers of each row together, since some kinds compare them.

    Raises:
        InvalidRequest: this installation cannot run the grader, or its code does not load.
        Unavailable: `sandbox_unavailable`, it is code and there is no sandbox.
    """
    services = services_for(scope)
    grader_require_supported(spec=spec, param="grader", available=services.available)
    grader_require_judges(spec=spec, scope=scope, param="grader")
    grader_require_loadable(spec=spec, param="grader", organization=str(scope.organization.pk))
    grader = compile_grader(spec, services)
    start = time.monotonic()
    pool = ThreadPoolExecutor(_AT_ONCE, "lab")
    waiting: list[Future[list[Grade]]] = [
        pool.submit(_grade_group, grader, item, list(samples)) for item, samples in work
    ]
    found: list[list[Grade] | None] = []
    for future in waiting:
        try:
            found.append(future.result(max(0.0, start + limit_s - time.monotonic())))
        except FutureTimeout:
            found.append(None)
    pool.shutdown(wait=False, cancel_futures=True)
    return Graded(found, time.monotonic() - start)


def _grade_group(grader: Grader, item: Mapping[str, Any], samples: list[Sample]) -> list[Grade]:
    """A fault of the sandbox is a failed grade of each answer; it was there when grading began."""
    try:
        return grader.grade_group(item, samples)
    except SandboxFault as fault:
        errors = GradeErrors.of("python_grader_server_error", fault.code)
        return [Grade(score=None, errors=errors, message=fault.message) for _ in samples]


def health(graded: Graded) -> GradingHealth:
    """Failures, latency and judge tokens of everything that was graded."""
    every = graded.every
    failed = [grade.message or "no message" for grade in every if grade.score is None]
    latencies = [grade.execution_time_s for grade in every]
    tokens = sum(usage.total_tokens for grade in every for usage in grade.usage.values())
    return GradingHealth(
        num_graded=len(every) - len(failed),
        num_failed=len(failed),
        failed_share=len(failed) / len(every) if every else 0.0,
        errors=dict(Counter(flag for grade in every for flag in grade.errors.raised())),
        messages=tuple(message for message, _ in Counter(failed).most_common(_NUM_MESSAGES)),
        latency_p50_s=percentile(latencies, 50),
        latency_p95_s=percentile(latencies, 95),
        judge_tokens_per_1000=1000 * tokens / len(every) if every and tokens else None,
        complete=graded.is_complete,
        seconds=graded.seconds,
    )
