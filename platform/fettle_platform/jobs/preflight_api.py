"""`/v1/fettle/preflight`: look before a job."""

from __future__ import annotations

from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fettle_platform.core.idempotency import idempotent
from fettle_platform.core.pagination import page_parameters, paginate
from fettle_platform.core.schema import page_of, schema_of
from fettle_platform.graders.stored import with_stored_grader
from fettle_platform.jobs import selectors, services
from fettle_platform.jobs.fettle_api import ROLLOUT_PARAMETERS, rollout_query
from fettle_platform.jobs.models import Job
from fettle_platform.jobs.preflight import parse_preflight_request, preflight_create, preflight_to_wire
from fettle_platform.jobs.rollouts import rollout_page
from fettle_platform.jobs.shapes import ErrorShape, EventShape, FettleOptionsShape, RolloutShape
from fettle_platform.jobs.wire import event_to_wire
from fettle_workers.contract.preflight import PreflightReport


class PreflightCreateShape(serializers.Serializer):
    model = serializers.CharField(help_text="id of a base model, of a fine-tuned model or of a checkpoint")
    training_file = serializers.CharField(help_text="id of a file with purpose fine-tune")
    validation_file = serializers.CharField(required=False, allow_null=True)
    method = serializers.DictField(help_text="as for a job; `type` is `reinforcement`")
    seed = serializers.IntegerField(required=False, allow_null=True, min_value=0, max_value=2**31 - 1)
    metadata = serializers.DictField(required=False, allow_null=True, child=serializers.CharField())
    fettle = FettleOptionsShape(required=False)
    num_rows = serializers.IntegerField(required=False, default=64, min_value=1, max_value=1000)
    samples_per_row = serializers.IntegerField(required=False, default=8, min_value=2, max_value=64)
    pass_threshold = serializers.FloatField(
        required=False, allow_null=True, help_text="reward from which an answer passes; 0.5 unless given"
    )


@extend_schema_field(schema_of(PreflightReport))
class ReportField(serializers.JSONField):
    """The contract's own model describes it."""


class PreflightShape(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["fettle.preflight"])
    created_at = serializers.IntegerField()
    finished_at = serializers.IntegerField(allow_null=True)
    status = serializers.ChoiceField(["validating_files", "queued", "running", "succeeded", "failed", "cancelled"])
    phase = serializers.CharField(help_text="what it is doing now, in words")
    model = serializers.CharField()
    base_model = serializers.CharField()
    training_file = serializers.CharField()
    validation_file = serializers.CharField(allow_null=True)
    validation_split = serializers.FloatField(allow_null=True)
    seed = serializers.IntegerField()
    method = serializers.DictField()
    grader_version = serializers.CharField(allow_null=True)
    metadata = serializers.DictField(child=serializers.CharField(), allow_null=True)
    num_rows = serializers.IntegerField()
    samples_per_row = serializers.IntegerField()
    pass_threshold = serializers.FloatField(allow_null=True)
    plan = serializers.DictField(allow_null=True, help_text="of the job it would be: what every `auto` resolves to")
    verdict = serializers.ChoiceField(["ready", "fixable", "dont"], allow_null=True)
    summary = serializers.CharField(allow_null=True, help_text="the verdict in one sentence")
    report = ReportField(allow_null=True, help_text="null until it has succeeded; in lists without `rows`")
    error = ErrorShape(allow_null=True)


class PreflightsView(APIView):
    @extend_schema(operation_id="createPreflight", request=PreflightCreateShape, responses={200: PreflightShape})
    @idempotent(dedupe_retries=True)
    def post(self, request: Request) -> Response:
        """Have the base answer and be graded, before a job is made. Takes the body of a job."""
        data, version = with_stored_grader(request.auth, request.data)
        parsed = parse_preflight_request(data, grader_version=version)
        services.job_check_grader(scope=request.auth, parsed=parsed.job)
        return Response(preflight_to_wire(preflight_create(scope=request.auth, parsed=parsed, now=timezone.now())))

    @extend_schema(
        operation_id="listPreflights", parameters=page_parameters(20, 100), responses={200: page_of(PreflightShape)}
    )
    def get(self, request: Request) -> Response:
        """List preflights, the newest first."""

        def to_wire(job: Job) -> dict[str, object]:
            return preflight_to_wire(job, with_rows=False)

        page = paginate(request, selectors.preflight_list(request.auth), to_wire, default_limit=20, max_limit=100)
        return Response(page)


class PreflightView(APIView):
    @extend_schema(operation_id="retrievePreflight", responses={200: PreflightShape})
    def get(self, request: Request, preflight_id: str) -> Response:
        return Response(preflight_to_wire(selectors.preflight_get(request.auth, preflight_id)))


class PreflightCancelView(APIView):
    @extend_schema(operation_id="cancelPreflight", request=None, responses={200: PreflightShape})
    @idempotent
    def post(self, request: Request, preflight_id: str) -> Response:
        """End it; a running one stops within seconds."""
        services.job_cancel(job=selectors.preflight_get(request.auth, preflight_id), now=timezone.now())
        return Response(preflight_to_wire(selectors.preflight_get(request.auth, preflight_id)))


class PreflightEventsView(APIView):
    @extend_schema(
        operation_id="listPreflightEvents", parameters=page_parameters(20, 1000), responses={200: page_of(EventShape)}
    )
    def get(self, request: Request, preflight_id: str) -> Response:
        """List its events, the newest first."""
        job = selectors.preflight_get(request.auth, preflight_id)
        events = selectors.event_list(job, after=request.query_params.get("after"))
        page = paginate(request, events, event_to_wire, default_limit=20, max_limit=1000, time_field="seq")
        return Response(page)


class PreflightRolloutsView(APIView):
    @extend_schema(
        operation_id="listPreflightRollouts", parameters=ROLLOUT_PARAMETERS, responses={200: page_of(RolloutShape)}
    )
    def get(self, request: Request, preflight_id: str) -> Response:
        """Every answer and its grade: `purpose` is `preflight` (training rows) or `eval` (held-out rows)."""
        return Response(rollout_page(selectors.preflight_get(request.auth, preflight_id), rollout_query(request)))
