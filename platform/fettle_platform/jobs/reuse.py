"""A job takes over the answers of a preflight: only of one that would have given the same answers."""

from __future__ import annotations

from typing import Any

from fettle_platform.accounts.scoping import Scope
from fettle_platform.core.errors import InvalidRequest
from fettle_platform.jobs.models import Job, RolloutFile
from fettle_platform.jobs.requests import JobRequest
from fettle_platform.jobs.selectors import preflight_get
from fettle_platform.jobs.states import Status
from fettle_workers.contract.preflight import Step0Ref, Step0Settings
from fettle_workers.contract.spec import ReinforcementMethod, TrainSpec

_PARAM = "fettle.preflight_id"
# What decides a sampled answer. The rest of the hyperparameters only decides what is made of it.
_SAMPLING = ("reasoning_effort", "max_completion_tokens", "temperature", "eval_samples")


def take_over(scope: Scope, preflight_id: str | None, spec: TrainSpec, request: JobRequest) -> TrainSpec:
    """The spec with the preflight's answers, and with its seed unless the request names one.

    Raises:
        NotFound: no such preflight in this project.
        InvalidRequest: it has no answers to take over, or was about something else; the message says what differs.
    """
    if preflight_id is None:
        return spec
    preflight = preflight_get(scope, preflight_id, param=_PARAM)
    if preflight.status != Status.SUCCEEDED:
        raise InvalidRequest(
            f"Preflight {preflight_id} is `{preflight.status}`; it has answers once it is `succeeded`.",
            param=_PARAM,
            code="invalid_state",
        )
    then = TrainSpec.model_validate(preflight.spec)
    if request.seed is None:
        spec = spec.model_copy(update={"seed": then.seed})
    differs = [name for name, old in _identity(then).items() if _identity(spec).get(name, old) != old]
    if differs:
        raise InvalidRequest(
            f"Preflight {preflight_id} was about something else: {', '.join(differs)} differ, so its answers are not "
            "those that this job would give. Run a new preflight, or leave `fettle.preflight_id` out.",
            param=_PARAM,
        )
    return spec.model_copy(update={"step0": _answers(preflight)})


def _identity(spec: TrainSpec) -> dict[str, Any]:
    """By the names of the request: what has to be equal for equal answers and grades."""
    validation = spec.validation_file
    found: dict[str, Any] = {
        "model": (spec.base_model, spec.init_adapter),
        "training_file": spec.training_file.sha256,
        "validation_file": validation.sha256 if validation else None,
        "fettle.validation_split": spec.validation_split,
        "seed": spec.seed,
        "method.type": spec.method.type,
    }
    if isinstance(spec.method, ReinforcementMethod):
        path = "method.reinforcement"
        found |= {f"{path}.grader": spec.method.grader, f"{path}.response_format": spec.method.response_format}
        for name in _SAMPLING:
            found[f"{path}.hyperparameters.{name}"] = getattr(spec.method.hyperparameters, name)
    return found


def _answers(preflight: Job) -> Step0Ref:
    file = RolloutFile.objects.filter(job=preflight, final=True).first()
    if file is None or preflight.step0 is None:
        raise InvalidRequest(
            f"Preflight {preflight.public_id} graded no answer to a held-out row: there is nothing to take over.",
            param=_PARAM,
        )
    return Step0Ref(
        preflight_id=preflight.public_id,
        key=file.key,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        settings=Step0Settings.model_validate(preflight.step0),
    )
