"""`/v1/fettle/plan`: what a job would do, without making it."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fettle_platform.graders.stored import with_stored_grader
from fettle_platform.jobs.requests import parse_job_request
from fettle_platform.jobs.shapes import JobCreateShape
from fettle_platform.plans.services import plan_foresee


class PlanShape(serializers.Serializer):
    object = serializers.ChoiceField(["fettle.plan"])
    plan = serializers.DictField(
        help_text="as `fettle.plan` of the job; null where only the job or a preflight can say: the base is still "
        "answering when one waited long enough"
    )
    reasons = serializers.DictField(
        child=serializers.CharField(), help_text="why, by name of the hyperparameter, for each that is `auto`"
    )
    warnings = serializers.ListField(child=serializers.CharField(), help_text="about the rows")


class PlanView(APIView):
    @extend_schema(operation_id="foreseePlan", request=JobCreateShape, responses={200: PlanShape})
    def post(self, request: Request) -> Response:
        """Say what each `auto` of a job becomes, and why. Takes the body of a job and makes none. With the job's `seed`
        the plan is exactly the job's; without one, the longest answer may differ a little."""
        data, version = with_stored_grader(request.auth, request.data)
        plan = plan_foresee(scope=request.auth, parsed=parse_job_request(data, grader_version=version))
        return Response({"object": "fettle.plan"} | plan.model_dump(mode="json"))
