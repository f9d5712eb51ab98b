"""`/v1/fettle/fine_tuning/jobs/...`: what Fettle knows about a job beyond the OpenAI wire."""

from __future__ import annotations

import math

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fettle_platform.core.errors import InvalidRequest, NotFound
from fettle_platform.core.pagination import page_parameters, paginate
from fettle_platform.core.schema import page_of
from fettle_platform.jobs import selectors
from fettle_platform.jobs.curves import MAX_POINTS, job_curves, progress_of
from fettle_platform.jobs.rollout_groups import rollout_groups
from fettle_platform.jobs.rollouts import RolloutQuery, parse_rollout_id, rollout_page
from fettle_platform.jobs.shapes import (
    EvaluationShape,
    JobWithProgressShape,
    MetricsShape,
    RolloutGroupsShape,
    RolloutShape,
    SelectionShape,
    UsageShape,
)
from fettle_platform.jobs.states import Status
from fettle_platform.jobs.usage import project_usage
from fettle_platform.jobs.wire import evaluation_to_wire, job_to_wire, selection_to_wire

_PURPOSES = ("train", "eval", "final", "report", "preflight")
ROLLOUT_PARAMETERS = [
    *page_parameters(100, 1000),
    OpenApiParameter("step", OpenApiTypes.INT),
    OpenApiParameter("row", OpenApiTypes.INT, description="counts from 0 in the file that `source` names"),
    OpenApiParameter("purpose", OpenApiTypes.STR, enum=_PURPOSES),
    OpenApiParameter("reward_min", OpenApiTypes.FLOAT, description="this reward or more"),
    OpenApiParameter("reward_max", OpenApiTypes.FLOAT, description="less than this reward"),
    OpenApiParameter("text", OpenApiTypes.STR, description="occurs in answer or thinking, in any case of letters"),
    OpenApiParameter("failed", OpenApiTypes.BOOL, description="only those whose grading failed"),
    OpenApiParameter("tokens", OpenApiTypes.BOOL, description="also token ids, their logprobs and what each wrote"),
]
_GROUPINGS = ("row", "step")
_MAX_JOBS = 50


class JobsWithProgressView(APIView):
    @extend_schema(
        operation_id="listJobsWithProgress",
        parameters=[
            *page_parameters(20, _MAX_JOBS),
            OpenApiParameter("status", OpenApiTypes.STR, description="one or several, with commas between them"),
            OpenApiParameter("model", OpenApiTypes.STR, description="what training began from"),
            OpenApiParameter("text", OpenApiTypes.STR, description="occurs in id, suffix or model"),
        ],
        responses={200: page_of(JobWithProgressShape)},
    )
    def get(self, request: Request) -> Response:
        """List jobs, the newest first, each with the curve of its held-out score and the best so far."""
        parameters = request.query_params
        jobs = selectors.job_search(
            request.auth,
            statuses=_statuses(parameters.get("status")),
            model=parameters.get("model"),
            text=parameters.get("text"),
        )
        page = paginate(request, jobs, lambda job: {"job": job}, default_limit=20, max_limit=_MAX_JOBS)
        found = [entry["job"] for entry in page["data"]]
        progress = progress_of(found)
        page["data"] = [job_to_wire(job) | {"progress": progress[job.pk]} for job in found]
        return Response(page)


class MetricsView(APIView):
    @extend_schema(
        operation_id="retrieveMetrics",
        parameters=[
            OpenApiParameter("after", OpenApiTypes.INT, description="only steps beyond this one"),
            OpenApiParameter("until", OpenApiTypes.INT, description="only steps up to this one"),
            OpenApiParameter(
                "limit", {"type": "integer", "minimum": 4, "maximum": MAX_POINTS, "default": MAX_POINTS},
                description="points of each series; more are thinned so that lowest and highest stay",
            ),
        ],
        responses={200: MetricsShape},
    )  # fmt: skip
    def get(self, request: Request, job_id: str) -> Response:
        """The curves of a job. `ETag` and `If-None-Match` make it cheap to ask again."""
        job = selectors.job_get(request.auth, job_id)
        after, until = _number(request, "after"), _number(request, "until")
        limit = _number(request, "limit", low=4, high=MAX_POINTS) or MAX_POINTS
        # Each event of a worker has the next sequence number of its attempt, and only those bring measurements. What
        # lies before the present step is not measured again in this attempt.
        news = "past" if until is not None and until < job.step else job.worker_sequence
        tag = f'"{job.attempt}-{news}-{after}-{until}-{limit}"'
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if tag in request.headers.get("If-None-Match", ""):
            return Response(status=304, headers=headers)
        return Response(job_curves(job, after=after, until=until, limit=limit), headers=headers)


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
    @extend_schema(operation_id="listRollouts", parameters=ROLLOUT_PARAMETERS, responses={200: page_of(RolloutShape)})
    def get(self, request: Request, job_id: str) -> Response:
        """Every completion and its grade, in the order they were written."""
        return Response(rollout_page(selectors.job_get(request.auth, job_id), rollout_query(request)))


class RolloutGroupsView(APIView):
    @extend_schema(
        operation_id="listRolloutGroups",
        parameters=[
            OpenApiParameter("by", OpenApiTypes.STR, enum=_GROUPINGS, description="default: row"),
            *(one for one in ROLLOUT_PARAMETERS if one.name not in ("after", "limit", "tokens")),
        ],
        responses={200: RolloutGroupsShape},
    )
    def get(self, request: Request, job_id: str) -> Response:
        """How rollouts did by prompt or by step, and how their rewards are spread."""
        by = request.query_params.get("by", "row")
        if by not in _GROUPINGS:
            raise InvalidRequest(f"by is {by[:40]!r}; expected one of {', '.join(_GROUPINGS)}", param="by")
        return Response(rollout_groups(selectors.job_get(request.auth, job_id), rollout_query(request), by=by))


class UsageView(APIView):
    @extend_schema(operation_id="retrieveUsage", responses={200: UsageShape})
    def get(self, request: Request) -> Response:
        """What the project's jobs took: time, tokens and room in the store."""
        return Response(project_usage(request.auth))


def rollout_query(request: Request) -> RolloutQuery:
    """Raises InvalidRequest: a parameter is not what it has to be."""
    parameters = request.query_params
    purpose = parameters.get("purpose")
    if purpose is not None and purpose not in _PURPOSES:
        raise InvalidRequest(f"purpose is {purpose[:40]!r}; expected one of {', '.join(_PURPOSES)}", param="purpose")
    return RolloutQuery(
        step=_number(request, "step"),
        row=_number(request, "row"),
        purpose=purpose,
        reward_min=_reward(request, "reward_min"),
        reward_max=_reward(request, "reward_max"),
        text=parameters.get("text") or None,
        failed=parameters.get("failed") in ("true", "1"),
        after=parse_rollout_id(parameters["after"]) if parameters.get("after") else None,
        limit=_number(request, "limit", low=1, high=1000) or 100,
        with_tokens=parameters.get("tokens") in ("true", "1"),
    )


def _number(request: Request, name: str, *, low: int = 0, high: int = 2**31 - 1) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 11 else -1
    if not low <= value <= high:
        raise InvalidRequest(f"{name} is {text[:40]!r}; expected a whole number from {low} to {high}", param=name)
    return value


def _reward(request: Request, name: str) -> float | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidRequest(f"{name} is {text[:40]!r}; expected a number", param=name)
    return value


def _statuses(text: str | None) -> list[str]:
    named = text.split(",") if text else []
    for name in named:
        if name not in list(Status):
            raise InvalidRequest(f"status is {name[:40]!r}; expected some of {', '.join(Status)}", param="status")
    return named


def _step_of(evaluation_id: str) -> int:
    step = evaluation_id.removeprefix("step-")
    if not (evaluation_id.startswith("step-") and step.isascii() and step.isdigit() and len(step) < 10):
        raise InvalidRequest(f"after is {evaluation_id[:80]!r}; expected the id of an evaluation", param="after")
    return int(step)
