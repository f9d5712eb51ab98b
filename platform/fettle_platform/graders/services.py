"""Reading and running graders. Users' code never runs in this process, only in the sandbox's.

A job's grader runs on a worker: what it may use there is `services_of_jobs`.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings

from fettle_graders.compile import compile_grader
from fettle_graders.errors import GraderSpecError, SandboxFault
from fettle_graders.grade import Grade, GradeErrors, run_response
from fettle_graders.sample import Sample
from fettle_graders.sandbox.failure import CodeFailure
from fettle_graders.sandbox.pool import Sandbox, shared_sandbox
from fettle_graders.sandbox.tenant import CodeSandbox
from fettle_graders.services import Services
from fettle_graders.spec import (
    GraderSpec,
    LabelModelSpec,
    MultiSpec,
    ProcessSpec,
    PythonSpec,
    RewardModelSpec,
    ScoreModelSpec,
    needed_service,
    needs_group,
    parse_grader,
    unsupported,
)
from fettle_platform.accounts.scoping import Scope
from fettle_platform.core.errors import InvalidRequest, NotFound, Unavailable
from fettle_platform.judges.served import ServedEmbedder, ServedScorer
from fettle_platform.judges.services import ProjectJudge, has_judges, judge_of
from fettle_platform.registry.catalogue import has_embeddings, reward_models
from fettle_workers.egress import Egress
from fettle_workers.egress.grader import HttpRemoteGrader

MAX_SAMPLE_CHARS = 1_000_000
RUN_S = 20.0  # of one call to a remote grader while one waits


def services_of_jobs() -> frozenset[str]:
    """What graders of training jobs may use on a worker."""
    optional = {"judge": has_judges(), "scorer": bool(reward_models()), "embedder": has_embeddings()}
    return frozenset({"http", "sandbox"} | {name for name, is_there in optional.items() if is_there})


def services_for(scope: Scope) -> Services:
    """What graders may use in this process, on behalf of one project."""
    model_server = settings.FETTLE.inference_url
    return Services(
        judge=ProjectJudge(scope.project) if has_judges() else None,
        http=HttpRemoteGrader(Egress(allowed=settings.FETTLE.egress_networks, timeout_s=RUN_S)),
        embedder=ServedEmbedder(model_server) if model_server and has_embeddings() else None,
        scorer=ServedScorer(model_server) if model_server and reward_models() else None,
        sandbox=CodeSandbox(_sandbox(), str(scope.organization.pk), with_output=True),
    )


def grader_require_judges(*, spec: GraderSpec, scope: Scope, param: str) -> None:
    """Raises InvalidRequest: a judge or reward model of the grader is none that this project may ask."""
    for grader in spec.graders.values() if isinstance(spec, MultiSpec) else (spec,):
        if isinstance(grader, ScoreModelSpec | LabelModelSpec):
            try:
                judge_of(scope, grader.model)
            except NotFound as error:
                raise InvalidRequest(f"grader {grader.name!r}: {error}", param=param, code="invalid_grader") from None
        if isinstance(grader, RewardModelSpec | ProcessSpec) and grader.model not in reward_models():
            names = ", ".join(f"`{name}`" for name in reward_models())
            message = f"grader {grader.name!r}: no such reward model: {grader.model[:100]}; there are: {names}"
            raise InvalidRequest(message, param=param, code="invalid_grader")


def grader_parse(*, data: Any, param: str) -> GraderSpec:
    """Read a grader as a user wrote it (any JSON value).

    Args:
        param: dotted path of the grader in the request.

    Raises:
        InvalidRequest: `invalid_grader`, with the path of the wrong field.
    """
    try:
        return parse_grader(data)
    except GraderSpecError as error:
        path = ".".join(part for part in (param, error.param) if part)
        raise InvalidRequest(f"{path}: {error.message}", param=path, code="invalid_grader") from None


def grader_require_supported(*, spec: GraderSpec, param: str, available: frozenset[str]) -> None:
    """Raises InvalidRequest: this installation cannot run it; the message names what can be used instead."""
    reason = unsupported(spec, available)
    if reason is not None:
        raise InvalidRequest(f"{param}: {reason}", param=param, code="invalid_grader")


def grader_require_loadable(*, spec: GraderSpec, param: str, organization: str) -> None:
    """Have the sandbox load what code the grader consists of, without calling it.

    Args:
        param: dotted path of the grader in the request.
        organization: whose code it is; no sandbox process is used for two.

    Raises:
        InvalidRequest: `invalid_grader`, a source does not load or has no usable `grade`.
        Unavailable: `sandbox_unavailable`, this installation has no sandbox.
    """
    parts = spec.graders.items() if isinstance(spec, MultiSpec) else [("", spec)]
    sandbox = CodeSandbox(_sandbox(), organization)
    for name, part in parts:
        if needed_service(part) != "sandbox":
            continue
        path = f"{param}.graders.{name}" if name else param
        try:
            sandbox.sandbox.require()
            if isinstance(part, PythonSpec):
                sandbox.check_source(part.source)
        except CodeFailure as failure:
            message = f"{path}.source: {failure.message}"
            raise InvalidRequest(message, param=f"{path}.source", code="invalid_grader") from None
        except SandboxFault as fault:
            raise Unavailable(fault.message, param=path, code=fault.code) from None


def _sandbox() -> Sandbox:
    return shared_sandbox(settings.FETTLE.sandbox_min_tier)


def sandbox_status() -> dict[str, Any]:
    """Which sandbox this process runs code in, and why."""
    return _sandbox().status()


def grader_run(*, scope: Scope, spec: GraderSpec, model_sample: str, item: dict[str, Any]) -> dict[str, Any]:
    """Grade one answer to one row; the wire's answer, with flags and a reward of 0 where the grader failed.

    Mathematical answers are compared in a child process with a time limit (`fettle_graders.math_process`).

    Raises:
        InvalidRequest: this installation cannot run the grader, or the answer is too long to grade while one waits.
        Unavailable: `sandbox_unavailable`, this installation has no sandbox.
    """
    services = services_for(scope)
    grader_require_supported(spec=spec, param="grader", available=services.available)
    grader_require_judges(spec=spec, scope=scope, param="grader")
    if needs_group(spec):
        raise InvalidRequest(
            "grader: majority compares the answers to one prompt with each other, and here is one: start a preflight",
            param="grader",
            code="invalid_grader",
        )
    if len(model_sample) > MAX_SAMPLE_CHARS:
        raise InvalidRequest(
            f"model_sample has {len(model_sample)} characters; at most {MAX_SAMPLE_CHARS}", param="model_sample"
        )
    try:
        grade = compile_grader(spec, services).grade(item, Sample(output_text=model_sample))
    except SandboxFault as fault:
        if fault.code == "sandbox_unavailable":
            raise Unavailable(fault.message, param="grader", code=fault.code) from None
        errors = GradeErrors.of("python_grader_server_error", fault.code)
        grade = Grade(score=None, errors=errors, message=fault.message)
    return run_response(spec, grade)
