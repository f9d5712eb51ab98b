"""One answer graded on this machine, without a server: the client checks a grader with it before it is sent.

Code runs in the same sandbox as on a server; kinds that ask a judge or a remote service cannot run here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fettle_graders.compile import compile_grader
from fettle_graders.grade import run_response
from fettle_graders.sample import Sample
from fettle_graders.sandbox.pool import shared_sandbox
from fettle_graders.sandbox.tenant import CodeSandbox
from fettle_graders.services import Services
from fettle_graders.spec import parse_grader


def run_offline(definition: Mapping[str, Any], answer: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of `graders/run`: a failed grade is a reward of 0 beside the raised flags.

    Raises:
        GraderError: the definition is not valid, or needs what is not on this machine.
    """
    spec = parse_grader(definition)
    services = Services(sandbox=CodeSandbox(shared_sandbox(), "offline", with_output=True))
    return run_response(spec, compile_grader(spec, services).grade(item, Sample(output_text=answer)))
