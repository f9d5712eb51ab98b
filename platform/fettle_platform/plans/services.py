"""The model server works a plan out: it has the base and its tokenizer, and can ask it."""

from __future__ import annotations

from functools import lru_cache

import httpx
from django.conf import settings
from django.db import transaction
from pydantic import ValidationError

from fettle_platform.accounts.scoping import Scope
from fettle_platform.core.errors import InvalidRequest, Unavailable, UpstreamFailed
from fettle_platform.inference.limits import take_slot
from fettle_platform.inference.upstream import CONNECT_S, refusal, unreachable
from fettle_platform.jobs.requests import ParsedJob
from fettle_platform.jobs.reuse import take_over
from fettle_platform.jobs.services import frozen_spec
from fettle_platform.jobs.validation import FileUnusable, files_check
from fettle_platform.registry import selectors as registry
from fettle_workers.contract.plan import PROBE_S, ForeseenPlan
from fettle_workers.contract.spec import ReinforcementMethod, TrainSpec

_AT_ONCE = 2
_READ_S = PROBE_S + 40.0  # loading a model and reading rows come on top of its answers
_SEED = 0  # of a request without a seed, whose job draws one


def plan_foresee(*, scope: Scope, parsed: ParsedJob) -> ForeseenPlan:
    """The plan that this job would store; exactly so if the request names its seed or a preflight.

    Raises:
        InvalidRequest, NotFound: as for creating the job, a row that cannot be used, and what it would fail with at its
            start.
        Unavailable: there is no model server that can say it, or it did not answer in time.
        RateLimited: the caller has as many in progress.
    """
    spec = _spec(scope, parsed)
    base_url = settings.FETTLE.inference_url
    if base_url is None:
        raise Unavailable("This server has no model server (FETTLE_INFERENCE_URL).", code="plan_unavailable")
    slot = take_slot(f"plan {scope.caller_id}", limit=_AT_ONCE)
    try:
        warnings = _row_warnings(scope.project.pk, _Checked(spec))
        found = _asked(f"{base_url}/fettle/plan", spec.model_dump_json().encode())
    except FileUnusable as error:
        raise InvalidRequest(str(error), param=error.param, code=error.code) from error
    finally:
        slot.release()
    return found.model_copy(update={"warnings": (*warnings, *found.warnings)})


class _Checked:
    """A spec that equals every other of the same files, method and grader: what the rows are checked for."""

    def __init__(self, spec: TrainSpec) -> None:
        self.spec = spec
        grader = spec.method.grader if isinstance(spec.method, ReinforcementMethod) else None
        files = (spec.training_file.file_id, spec.validation_file and spec.validation_file.file_id)
        self._key = (*files, spec.method.type, grader and grader.model_dump_json())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Checked) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


@lru_cache(maxsize=32)
def _row_warnings(project_id: int, checked: _Checked) -> tuple[str, ...]:
    """A form asks again at every change, and files never change. Raises FileUnusable, which is not kept."""
    return tuple(note.message for note in files_check(project_id, checked.spec))


def _asked(url: str, body: bytes) -> ForeseenPlan:
    try:
        with httpx.Client(trust_env=False, timeout=httpx.Timeout(_READ_S, connect=CONNECT_S)) as client:
            response = client.post(url, content=body, headers={"content-type": "application/json"})
    except httpx.HTTPError as error:
        raise unreachable(error) from error
    if response.status_code == 404:
        raise Unavailable(
            "The model server of this installation cannot foresee a plan; `fettle infer` can. A preflight, or the job "
            "when it starts, says what each `auto` becomes.",
            code="plan_unavailable",
        )
    if response.status_code != 200:
        raise refusal(response, response.content)
    try:
        return ForeseenPlan.model_validate_json(response.content)
    except ValidationError as error:
        raise UpstreamFailed("The model server's answer is not a plan.") from error


def _spec(scope: Scope, parsed: ParsedJob) -> TrainSpec:
    request = parsed.request
    with transaction.atomic():
        spec = frozen_spec(scope, parsed, registry.served_model(scope, request.model))
        if request.seed is None:
            spec = spec.model_copy(update={"seed": _SEED})
        return take_over(scope, request.fettle.preflight_id, spec, request)
