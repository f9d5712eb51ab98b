"""`/v1/fine_tuning/...`: the endpoints the official client calls."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fettle_platform.core.idempotency import idempotent
from fettle_platform.core.pagination import page_parameters, paginate
from fettle_platform.core.schema import page_of
from fettle_platform.graders.stored import with_stored_grader
from fettle_platform.jobs import selectors, services
from fettle_platform.jobs.models import Job
from fettle_platform.jobs.requests import parse_job_request
from fettle_platform.jobs.shapes import CheckpointShape, EventShape, JobCreateShape, JobShape
from fettle_platform.jobs.wire import checkpoint_to_wire, event_to_wire, job_to_wire


class JobsView(APIView):
    @extend_schema(operation_id="createFineTuningJob", request=JobCreateShape, responses={200: JobShape})
    @idempotent(dedupe_retries=True)
    def post(self, request: Request) -> Response:
        """Create a job. Its files are checked next, then it waits for a worker."""
        data, version = with_stored_grader(request.auth, request.data)
        parsed = parse_job_request(data, grader_version=version)
        services.job_check_grader(scope=request.auth, parsed=parsed)
        job = services.job_create(scope=request.auth, parsed=parsed, now=timezone.now())
        return Response(job_to_wire(job))

    @extend_schema(
        operation_id="listFineTuningJobs", parameters=page_parameters(20, 100), responses={200: page_of(JobShape)}
    )
    def get(self, request: Request) -> Response:
        """List jobs, the newest first; filter with `metadata[key]=value` or `metadata=null`."""
        jobs = selectors.job_list(request.auth, query=request.query_params.dict())
        return Response(paginate(request, jobs, job_to_wire, default_limit=20, max_limit=100))


class JobView(APIView):
    @extend_schema(operation_id="retrieveFineTuningJob", responses={200: JobShape})
    def get(self, request: Request, job_id: str) -> Response:
        return Response(job_to_wire(selectors.job_get(request.auth, job_id)))


class _ChangeView(APIView):
    """A wish of the user: the answer is the job as it is afterwards."""

    def _change(self, request: Request, job_id: str, change: Callable[..., None]) -> Response:
        job: Job = selectors.job_get(request.auth, job_id)
        now: datetime = timezone.now()
        change(job=job, now=now)
        return Response(job_to_wire(selectors.job_get(request.auth, job_id)))


class CancelView(_ChangeView):
    @extend_schema(operation_id="cancelFineTuningJob", request=None, responses={200: JobShape})
    @idempotent
    def post(self, request: Request, job_id: str) -> Response:
        """End the job; a running one stops after its current step. Checkpoints are kept."""
        return self._change(request, job_id, services.job_cancel)


class PauseView(_ChangeView):
    @extend_schema(operation_id="pauseFineTuningJob", request=None, responses={200: JobShape})
    @idempotent
    def post(self, request: Request, job_id: str) -> Response:
        """Save the current step and give the worker free."""
        return self._change(request, job_id, services.job_pause)


class ResumeView(_ChangeView):
    @extend_schema(operation_id="resumeFineTuningJob", request=None, responses={200: JobShape})
    @idempotent
    def post(self, request: Request, job_id: str) -> Response:
        """Go on from the newest checkpoint."""
        return self._change(request, job_id, services.job_resume)


class FinishView(_ChangeView):
    @extend_schema(operation_id="finishFineTuningJob", request=None, responses={200: JobShape})
    @idempotent
    def post(self, request: Request, job_id: str) -> Response:
        """Make no further steps: measure the best candidates so far, choose among them and deliver the model."""
        return self._change(request, job_id, services.job_finish_early)


class EventsView(APIView):
    @extend_schema(
        operation_id="listFineTuningEvents",
        parameters=[
            *page_parameters(20, 1000),
            OpenApiParameter("level", OpenApiTypes.STR, enum=["info", "warn", "error"]),
            OpenApiParameter("type", OpenApiTypes.STR, enum=["message", "metrics"]),
            OpenApiParameter("text", OpenApiTypes.STR, description="occurs in the message, in any case of letters"),
        ],
        responses={200: page_of(EventShape)},
    )
    def get(self, request: Request, job_id: str) -> Response:
        """List a job's events, the newest first."""
        job = selectors.job_get(request.auth, job_id)
        asked = request.query_params
        events = selectors.event_list(
            job, after=asked.get("after"), level=asked.get("level"), kind=asked.get("type"), text=asked.get("text")
        )
        page = paginate(request, events, event_to_wire, default_limit=20, max_limit=1000, time_field="seq")
        return Response(page)


class CheckpointsView(APIView):
    @extend_schema(
        operation_id="listFineTuningJobCheckpoints",
        parameters=page_parameters(10, 100),
        responses={200: page_of(CheckpointShape)},
    )
    def get(self, request: Request, job_id: str) -> Response:
        """List the checkpoints that are kept and served, the newest first."""
        checkpoints = selectors.checkpoint_list(selectors.job_get(request.auth, job_id))
        page: dict[str, Any] = paginate(
            request, checkpoints, checkpoint_to_wire, default_limit=10, max_limit=100, time_field="step"
        )
        return Response(page)
