"""The sandbox as graders use it: on behalf of one organization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fettle_graders.sandbox.pool import Sandbox
from fettle_graders.sandbox.worker import Reply


@dataclass(frozen=True)
class CodeSandbox:
    """Whose code runs, and whether what it prints is of interest."""

    sandbox: Sandbox
    organization: str = ""
    with_output: bool = False

    def check_source(self, source: str) -> None:
        """Load a grader. Raises CodeFailure or SandboxFault, as `Sandbox.check_source`."""
        self.sandbox.check_source(self.organization, source)

    def grade(self, source: str, body: bytes) -> Reply:
        """Call a grader once. Raises CodeFailure or SandboxFault, as `Sandbox.grade`."""
        return self.sandbox.grade(self.organization, source, body, with_output=self.with_output)

    def notes(self, output: str = "") -> dict[str, Any]:
        """For `Grade.notes`: where it ran, and what it printed."""
        return {"sandbox": self.sandbox.stamp()} | ({"output": output} if self.with_output else {})
