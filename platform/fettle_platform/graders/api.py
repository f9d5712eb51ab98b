"""`/v1/fine_tuning/alpha/graders`: check a grader before a job uses it, and try it on one answer."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fettle_graders.spec import GRADER_TYPES, GraderSpec, masked
from fettle_platform.core.idempotency import idempotent
from fettle_platform.graders import services


@extend_schema_field({"type": "object", "properties": {"type": {"enum": list(GRADER_TYPES)}}, "required": ["type"]})
class GraderField(serializers.JSONField):
    """Any grader; `fettle_graders` knows the kinds."""


class GraderValidate(serializers.Serializer):
    grader = GraderField()


class GraderEcho(serializers.Serializer):
    grader = serializers.DictField(help_text="normalised: every default filled in, `multi.graders` as a map")


class GraderRun(serializers.Serializer):
    grader = GraderField()
    model_sample = serializers.CharField(
        allow_blank=True, trim_whitespace=False, help_text="the answer to grade: `sample.output_text`"
    )
    item = serializers.DictField(required=False, allow_null=True, help_text="the dataset row: `item`")


class GraderRunMetadata(serializers.Serializer):
    name = serializers.CharField()
    type = serializers.CharField()
    errors = serializers.DictField()
    execution_time = serializers.FloatField(help_text="seconds")
    scores = serializers.DictField()
    sampled_model_name = serializers.CharField(allow_null=True)
    token_usage = serializers.IntegerField(allow_null=True)


class GraderRunResult(serializers.Serializer):
    reward = serializers.FloatField(help_text="0 when the grader failed; `metadata.errors` says so")
    sub_rewards = serializers.DictField(child=serializers.FloatField())
    metadata = GraderRunMetadata()
    model_grader_token_usage_per_model = serializers.DictField()
    fettle = serializers.DictField(help_text="`message`: what failed, or why it is this score, in words; or null")


class GraderValidateView(APIView):
    @extend_schema(operation_id="validateGrader", request=GraderValidate, responses={200: GraderEcho})
    @idempotent
    def post(self, request: Request) -> Response:
        fields = GraderValidate(data=request.data)
        fields.is_valid(raise_exception=True)
        spec = _spec(fields.validated_data["grader"])
        services.grader_require_loadable(spec=spec, param="grader", organization=_organization(request))
        return Response({"grader": masked(spec)})


class GraderRunView(APIView):
    @extend_schema(operation_id="runGrader", request=GraderRun, responses={200: GraderRunResult})
    @idempotent
    def post(self, request: Request) -> Response:
        """Grade one answer. A grader that fails is reported inside the answer, not as an HTTP error."""
        fields = GraderRun(data=request.data)
        fields.is_valid(raise_exception=True)
        values = fields.validated_data
        result = services.grader_run(
            scope=request.auth,
            spec=_spec(values["grader"]),
            model_sample=values["model_sample"],
            item=values.get("item") or {},
        )
        return Response(result)


class SandboxStatus(serializers.Serializer):
    object = serializers.CharField()
    tier = serializers.CharField(allow_null=True, help_text="`namespaces`, `lockdown`, or null: code is refused")
    available = serializers.BooleanField()
    reasons = serializers.DictField(child=serializers.CharField(), help_text="for each tier tried: in use, or why not")
    checks = serializers.ListField(child=serializers.CharField(), help_text="what the self-test has shown")
    checked_seconds_ago = serializers.FloatField()
    policy_version = serializers.CharField(help_text="changes with anything that confines code")
    limits = serializers.DictField()


class SandboxView(APIView):
    @extend_schema(operation_id="getSandbox", responses={200: SandboxStatus})
    def get(self, request: Request) -> Response:
        """Where code of users and models runs in this server, and what a self-test there has shown."""
        return Response({"object": "fettle.sandbox"} | services.sandbox_status())


def _organization(request: Request) -> str:
    return str(request.auth.organization.pk)


def _spec(data: Any) -> GraderSpec:
    return services.grader_parse(data=data, param="grader")
