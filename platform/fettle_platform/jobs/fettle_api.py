"""`/v1/fettle/fine_tuning/jobs/...`: what Fettle knows about a job beyond the OpenAI wire."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fettle_platform.core.errors import InvalidRequest, NotFound
from fettle_platform.core.pagination import page_parameters
from fettle_platform.core.schema import page_of
from fettle_platform.jobs import selectors
from fettle_platform.jobs.rollouts import RolloutQuery, parse_rollout_id, rollout_page
from fettle_platform.jobs.shapes import EvaluationShape, RolloutShape, SelectionShape
from fettle_platform.jobs.wire import evaluation_to_wire, selection_to_wire

_PURPOSES = ("train", "eval", "final", "report")


class SelectionView(APIView):
    @extend_schema(operation_id="retrieveSelection", responses={200: SelectionShape})
    def get(self, request: Request, job_id: str) -> Response:
        """Which checkpoint is delivered, why, and how sure the gain is. 404 until the job has succeeded."""
        job = selectors.job_get(request.auth, job_id)
        if job.selection is None:
            raise NotFound(f"Job {job_id} is `{job.status}`; there is a selection once it has succeeded.")
        return Response(selection_to_wire(job))


class EvaluationsView(APIView):
    @extend_schema(
        operation_id="listEvaluations", parameters=page_parameters(20, 100), responses={200: page_of(EvaluationShape)}
    )
    def get(self, request: Request, job_id: str) -> Response:
        """How each held-out row did at each evaluated step, by ascending step."""
        rows = selectors.evaluation_list(selectors.job_get(request.auth, job_id)).order_by("step")
        limit = _number(request, "limit", low=1, high=100) or 20
        after = request.query_params.get("after")
        if after:
            rows = rows.filter(step__gt=_step_of(after))
        found = [evaluation_to_wire(row) for row in rows[: limit + 1]]
        shown = found[:limit]
        page = {"object": "list", "data": shown, "has_more": len(found) > limit}
        ids = {"first_id": shown[0]["id"] if shown else None, "last_id": shown[-1]["id"] if shown else None}
        return Response(page | ids)


class RolloutsView(APIView):
    @extend_schema(
        operation_id="listRollouts",
        parameters=[
            *page_parameters(100, 1000),
            OpenApiParameter("step", OpenApiTypes.INT),
            OpenApiParameter("row", OpenApiTypes.INT, description="counts from 0 in the file that `source` names"),
            OpenApiParameter("purpose", OpenApiTypes.STR, enum=_PURPOSES),
            OpenApiParameter("tokens", OpenApiTypes.BOOL, description="also token ids and their logprobs"),
        ],
        responses={200: page_of(RolloutShape)},
    )
    def get(self, request: Request, job_id: str) -> Response:
        """Every completion and its grade, in the order they were written."""
        job = selectors.job_get(request.auth, job_id)
        parameters = request.query_params
        purpose = parameters.get("purpose")
        if purpose is not None and purpose not in _PURPOSES:
            raise InvalidRequest(
                f"purpose is {purpose[:40]!r}; expected one of {', '.join(_PURPOSES)}", param="purpose"
            )
        query = RolloutQuery(
            step=_number(request, "step"),
            row=_number(request, "row"),
            purpose=purpose,
            after=parse_rollout_id(parameters["after"]) if parameters.get("after") else None,
            limit=_number(request, "limit", low=1, high=1000) or 100,
            with_tokens=parameters.get("tokens") in ("true", "1"),
        )
        return Response(rollout_page(job, query))


def _number(request: Request, name: str, *, low: int = 0, high: int = 2**31 - 1) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 11 else -1
    if not low <= value <= high:
        raise InvalidRequest(f"{name} is {text[:40]!r}; expected a whole number from {low} to {high}", param=name)
    return value


def _step_of(evaluation_id: str) -> int:
    step = evaluation_id.removeprefix("step-")
    if not (evaluation_id.startswith("step-") and step.isascii() and step.isdigit() and len(step) < 10):
        raise InvalidRequest(f"after is {evaluation_id[:80]!r}; expected the id of an evaluation", param="after")
    return int(step)
