"""The model server works a plan out: it has the base and its tokenizer, and can ask it."""

from __future__ import annotations

import httpx
from django.conf import settings
from django.db import transaction
from pydantic import ValidationError

from fettle_platform.accounts.scoping import Scope
from fettle_platform.core.errors import Unavailable, UpstreamFailed
from fettle_platform.inference.limits import take_slot
from fettle_platform.inference.upstream import CONNECT_S, refusal, unreachable
from fettle_platform.jobs.requests import ParsedJob
from fettle_platform.jobs.reuse import take_over
from fettle_platform.jobs.services import frozen_spec
from fettle_platform.registry import selectors as registry
from fettle_workers.contract.plan import PROBE_S, ForeseenPlan
from fettle_workers.contract.spec import TrainSpec

_AT_ONCE = 2
_READ_S = PROBE_S + 40.0  # loading a model and reading rows come on top of its answers
_SEED = 0  # of a request without a seed, whose job draws one


def plan_foresee(*, scope: Scope, parsed: ParsedJob) -> ForeseenPlan:
    """The plan that this job would store; exactly so if the request names its seed or a preflight.

    Raises:
        InvalidRequest, NotFound: as for creating the job, and what it would fail with at its start.
        Unavailable: there is no model server that can say it, or it did not answer in time.
        RateLimited: the caller has as many in progress.
    """
    base_url = settings.FETTLE.inference_url
    if base_url is None:
        raise Unavailable("This server has no model server (FETTLE_INFERENCE_URL).", code="plan_unavailable")
    body = _spec(scope, parsed).model_dump_json().encode()
    slot = take_slot(f"plan {scope.caller_id}", limit=_AT_ONCE)
    try:
        return _asked(f"{base_url}/fettle/plan", body)
    finally:
        slot.release()


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
