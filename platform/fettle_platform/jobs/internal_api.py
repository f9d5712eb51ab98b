"""`/internal/jobs/...`: what supervisors call. The bodies are `fettle_workers.contract.internal`."""

from __future__ import annotations

import hmac
from typing import TypeVar

from django.conf import settings
from django.http import HttpResponse
from django.utils import timezone
from pydantic import BaseModel, ValidationError
from rest_framework.request import Request
from rest_framework.views import APIView

from fettle_graders.errors import GradeFailure
from fettle_platform.core.errors import Unauthorized, invalid_from_pydantic
from fettle_platform.jobs import leases
from fettle_platform.jobs.intake import job_apply_events
from fettle_platform.jobs.models import Job
from fettle_platform.judges.services import ProjectJudge
from fettle_workers.contract.internal import (
    ClaimRequest,
    EventsRequest,
    HeartbeatRequest,
    JudgeCall,
    JudgeReply,
    ReleaseRequest,
)

B = TypeVar("B", bound=BaseModel)


class _InternalView(APIView):
    """Users' keys mean nothing here, and workers' tokens nothing elsewhere."""

    authentication_classes = ()
    permission_classes = ()


class ClaimView(_InternalView):
    def post(self, request: Request, job_id: str) -> HttpResponse:
        expected = settings.FETTLE.resolved_worker_token().encode()
        if not hmac.compare_digest(bearer(request).encode(), expected):
            raise Unauthorized(
                "This is not the workers' token; set the same FETTLE_WORKER_TOKEN on server and workers."
            )
        body = _read(ClaimRequest, request)
        claim = leases.job_claim(job_id=job_id, attempt=body.attempt, worker=body.worker, now=timezone.now())
        return _answer(claim)


class HeartbeatView(_InternalView):
    def post(self, request: Request, job_id: str) -> HttpResponse:
        body = _read(HeartbeatRequest, request)
        job = _job(request, job_id, body.attempt)
        return _answer(leases.job_heartbeat(job=job, attempt=body.attempt, now=timezone.now()))


class EventsView(_InternalView):
    def post(self, request: Request, job_id: str) -> HttpResponse:
        body = _read(EventsRequest, request)
        job = _job(request, job_id, body.attempt)
        answer = job_apply_events(job=job, attempt=body.attempt, events=body.events, now=timezone.now())
        return _answer(answer)


class ReleaseView(_InternalView):
    def post(self, request: Request, job_id: str) -> HttpResponse:
        body = _read(ReleaseRequest, request)
        job = _job(request, job_id, body.attempt)
        answer = leases.job_release(
            job=job, attempt=body.attempt, outcome=body.outcome, message=body.message, now=timezone.now()
        )
        return _answer(answer)


class JudgeView(_InternalView):
    """A trainer asks a judge model, as its job's project may. Keys of judges never leave this process."""

    def post(self, request: Request, job_id: str) -> HttpResponse:
        body = _read(JudgeCall, request)
        job = leases.job_of_judge_call(job_id=job_id, attempt=body.attempt, token=bearer(request))
        try:
            return _answer(JudgeReply(answer=ProjectJudge(job.project).ask(body.request)))
        except GradeFailure as failure:
            return _answer(JudgeReply(failure=failure.message, details=failure.details))


def _job(request: Request, job_id: str, attempt: int) -> Job:
    return leases.job_of_attempt(job_id=job_id, attempt=attempt, token=bearer(request))


def bearer(request: Request) -> str:
    """Raises Unauthorized when the header is not there or is not a bearer token."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("The Authorization header must read 'Bearer <token>'")
    return token.strip()


def _read(model: type[B], request: Request) -> B:
    """The contract refuses unknown keys, so a worker of another version is told which key it is."""
    try:
        return model.model_validate(request.data)
    except ValidationError as error:
        raise invalid_from_pydantic(error) from None


def _answer(model: BaseModel) -> HttpResponse:
    return HttpResponse(model.model_dump_json(), content_type="application/json")
