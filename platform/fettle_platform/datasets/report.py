"""What is wrong with the rows of a file: every problem counted, grouped by cause, the first ones shown."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from fettle_platform.datasets.statistics import Statistics

MAX_EXAMPLES = 100
# A frequent cause must not push the examples of all others out of the report.
_EXAMPLES_EACH_CAUSE_KEEPS = 3
MAX_CAUSES = 200


@dataclass(frozen=True)
class Occurrence:
    """`path` is the field in that row (`messages.1.role`), empty for the row as a whole; `found` is shortened."""

    line: int
    path: str
    found: str


@dataclass
class Cause:
    """One kind of problem. `path` has `[]` where rows differ in the index: `messages[].role`."""

    code: str
    severity: Literal["error", "warning"]
    path: str
    message: str
    expected: str
    count: int = 0
    examples: list[Occurrence] = field(default_factory=list)


@dataclass
class RowReport:
    """The result of reading a whole file. Rows without an error are usable; one error makes the file unusable."""

    num_rows: int = 0
    num_errors: int = 0
    num_warnings: int = 0
    causes: list[Cause] = field(default_factory=list)
    statistics: Statistics = field(default_factory=Statistics)

    @property
    def is_valid(self) -> bool:
        return self.num_errors == 0

    def errors(self) -> list[Cause]:
        return [cause for cause in self.causes if cause.severity == "error"]

    def describe(self, name: str = "the file", limit: int = 3) -> str:
        """The errors in one paragraph for a person: `line 17, answer: ...`. Empty when there are none."""
        causes = self.errors()
        parts = [_sentence(cause) for cause in causes[:limit]]
        if not parts:
            return ""
        more = f"; and {len(causes) - limit} more kinds of problem" if len(causes) > limit else ""
        problems = "problem" if self.num_errors == 1 else "problems"
        return f"{name} has {self.num_errors} {problems}: " + "; ".join(parts) + more

    def to_json(self) -> dict[str, Any]:
        return {
            "num_rows": self.num_rows,
            "num_errors": self.num_errors,
            "num_warnings": self.num_warnings,
            "causes": [asdict(cause) for cause in self.causes],
            "statistics": self.statistics.to_json(),
        }


class Findings:
    """Collects problems while rows are read."""

    def __init__(self) -> None:
        self._causes: dict[tuple[str, str, str], Cause] = {}
        self._num_examples = 0
        self.num_errors = 0
        self.num_warnings = 0

    def error(self, line: int, code: str, path: str, message: str, *, expected: str, found: object) -> None:
        self.num_errors += 1
        self._add("error", line, code, path, message, expected, found)

    def warning(self, line: int, code: str, path: str, message: str, *, expected: str, found: object) -> None:
        self.num_warnings += 1
        self._add("warning", line, code, path, message, expected, found)

    def causes(self) -> list[Cause]:
        """Errors first, the most frequent first."""
        return sorted(self._causes.values(), key=lambda cause: (cause.severity, -cause.count))

    def _add(
        self,
        severity: Literal["error", "warning"],
        line: int,
        code: str,
        path: str,
        message: str,
        expected: str,
        found: object,
    ) -> None:
        place = _without_indexes(path)
        key = (code, place, expected)
        if key not in self._causes and len(self._causes) >= MAX_CAUSES:
            return  # counted in the totals; nobody reads two hundred kinds of problem
        cause = self._causes.setdefault(key, Cause(code, severity, place, message, expected))
        cause.count += 1
        if self._num_examples < MAX_EXAMPLES or len(cause.examples) < _EXAMPLES_EACH_CAUSE_KEEPS:
            self._num_examples += 1
            cause.examples.append(Occurrence(line, path, shown(found)))


def shown(value: object, limit: int = 120) -> str:
    """A short, printable form of what was found."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _without_indexes(path: str) -> str:
    """`messages.1.content.0.type` -> `messages[].content[].type`."""
    joined = ""
    for part in path.split("."):
        joined += "[]" if part.isdigit() else f".{part}" if joined else part
    return joined


def _sentence(cause: Cause) -> str:
    first = cause.examples[0]
    place = f"line {first.line}" + (f", {first.path}" if first.path else "")
    others = f" (and {cause.count - 1} more)" if cause.count > 1 else ""
    return f"{place}: {cause.message}; found {first.found}, expected {cause.expected}{others}"
