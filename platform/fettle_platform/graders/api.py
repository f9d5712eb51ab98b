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


class GraderValidateView(APIView):
    @extend_schema(operation_id="validateGrader", request=GraderValidate, responses={200: GraderEcho})
    @idempotent
    def post(self, request: Request) -> Response:
        fields = GraderValidate(data=request.data)
        fields.is_valid(raise_exception=True)
        return Response({"grader": masked(_spec(fields.validated_data["grader"]))})


class GraderRunView(APIView):
    @extend_schema(operation_id="runGrader", request=GraderRun, responses={200: GraderRunResult})
    @idempotent
    def post(self, request: Request) -> Response:
        """Grade one answer. A grader that fails is reported inside the answer, not as an HTTP error."""
        fields = GraderRun(data=request.data)
        fields.is_valid(raise_exception=True)
        values = fields.validated_data
        result = services.grader_run(
            spec=_spec(values["grader"]), model_sample=values["model_sample"], item=values.get("item") or {}
        )
        return Response(result)


def _spec(data: Any) -> GraderSpec:
    return services.grader_parse(data=data, param="grader")
