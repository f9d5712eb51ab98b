"""The circuit breaker on a grader that fails."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from fettle_workers.engine.errors import JobFailed

_FIRST_GRADES = 32
_GRADE_WINDOW, MAX_FAILED_SHARE = 500, 0.20


@dataclass
class GradeLog:
    """The last 500 grades, and the circuit breaker on them; part of the checkpoint.

    A grader that failed is not a grade of zero: such completions train nothing, and too many of them end the job.
    """

    num_grades: int = 0
    num_failed: int = 0
    recent: list[bool] = field(default_factory=list)
    messages: dict[str, int] = field(default_factory=dict)

    def record(self, message: str | None) -> None:
        """Count one grade; `message` is None when it succeeded.

        Raises:
            JobFailed: all of the first 32 grades, or 20 % of the last 500, failed.
        """
        failed = message is not None
        self.num_grades += 1
        self.num_failed += failed
        self.recent = [*self.recent[-_GRADE_WINDOW + 1 :], failed]
        if message is not None:
            self._remember(message)
        if self.num_grades == self.num_failed == _FIRST_GRADES:
            raise self._failure(f"the first {_FIRST_GRADES} grades all failed")
        if sum(self.recent) >= MAX_FAILED_SHARE * _GRADE_WINDOW:
            raise self._failure(f"{sum(self.recent)} of the last {len(self.recent)} grades failed")

    def _remember(self, message: str) -> None:
        if message in self.messages or len(self.messages) < 50:
            self.messages[message] = self.messages.get(message, 0) + 1

    def _failure(self, found: str) -> JobFailed:
        common = Counter(self.messages).most_common(5)
        shown = "; ".join(f"{count} times: {message}" for message, count in common)
        advice = "Run the grader on a few rows and completions before starting the job again."
        return JobFailed(
            "grader_error_rate_exceeded", f"{found}. {shown}. {advice}", param="method.reinforcement.grader"
        )
