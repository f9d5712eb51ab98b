"""`/v1/fettle/graders/test`, `red_team`, `regrade`, `calibrate`: a grader looked at before it trains a model."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.utils import extend_schema
from pydantic import BaseModel
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fettle_graders.spec import GraderSpec
from fettle_platform.accounts.scoping import Scope
from fettle_platform.core.errors import InvalidRequest
from fettle_platform.core.idempotency import idempotent
from fettle_platform.core.schema import schema_of
from fettle_platform.graders.stored import grader_resolve
from fettle_platform.inference.limits import take_slot
from fettle_platform.jobs.requests import read_model
from fettle_platform.lab.batch import run_test
from fettle_platform.lab.calibration import run_calibration
from fettle_platform.lab.red_team import run_red_team
from fettle_platform.lab.regrade import run_regrade
from fettle_platform.lab.reports import Calibrated, GraderTest, RedTeam, Regrade
from fettle_platform.lab.requests import CalibrateRequest, RedTeamRequest, RegradeRequest, TestRequest

M = TypeVar("M", bound=BaseModel)

MAX_AT_ONCE = 4

# Pydantic puts the kind of a source into the path of its fields.
_TAG = re.compile(r"\b(source|honest)\.(?:reference|completions|job|base)\.")


def _documented(name: str, asked: type[BaseModel], answer: type[BaseModel]) -> Callable[..., Any]:
    return extend_schema(
        operation_id=name,
        request={"application/json": schema_of(asked, "validation")},
        responses={(200, "application/json"): schema_of(answer)},
    )


class GraderTestView(APIView):
    @_documented("testGrader", TestRequest, GraderTest)
    @idempotent
    def post(self, request: Request) -> Response:
        """Grade many answers and show how the scores are spread, where it fails, and which right answers lose."""
        asked = _read(TestRequest, request)
        return _looked(request.auth, asked.grader, lambda spec, version: run_test(request.auth, asked, spec, version))


class RedTeamView(APIView):
    @_documented("redTeamGrader", RedTeamRequest, RedTeam)
    @idempotent
    def post(self, request: Request) -> Response:
        """Grade answers that deserve nothing, and say which of them score as well as honest ones."""
        asked = _read(RedTeamRequest, request)
        return _looked(
            request.auth, asked.grader, lambda spec, version: run_red_team(request.auth, asked, spec, version)
        )


class RegradeView(APIView):
    @_documented("regradeJob", RegradeRequest, Regrade)
    @idempotent
    def post(self, request: Request) -> Response:
        """Grade a job's stored answers with another grader, and say what training would have done differently."""
        asked = _read(RegradeRequest, request)
        return _looked(
            request.auth, asked.grader, lambda spec, version: run_regrade(request.auth, asked, spec, version)
        )


class CalibrateView(APIView):
    @_documented("calibrateGrader", CalibrateRequest, Calibrated)
    @idempotent
    def post(self, request: Request) -> Response:
        """Compare a grader with people's ratings: agreement, rank correlation, noise, and bias by length."""
        asked = _read(CalibrateRequest, request)
        return _looked(
            request.auth, asked.grader, lambda spec, version: run_calibration(request.auth, asked, spec, version)
        )


def _read(model: type[M], request: Request) -> M:
    data = request.data
    if not isinstance(data, dict):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_type")
    try:
        return read_model(model, data)
    except InvalidRequest as error:
        param = _TAG.sub(r"\1.", error.param or "") or None
        raise InvalidRequest(_TAG.sub(r"\1.", error.message), param=param, code=error.code) from None


def _looked(scope: Scope, grader: Any, look: Callable[[GraderSpec, str | None], BaseModel]) -> Response:
    """Look at a grader, a few at once for each caller: every look keeps threads of this process busy.

    Raises:
        RateLimited: the caller has as many in progress.
    """
    spec, version = grader_resolve(scope, grader, param="grader")
    slot = take_slot(f"lab {scope.caller_id}", limit=MAX_AT_ONCE)
    try:
        report = look(spec, version.public_id if version else None)
    finally:
        slot.release()
    return Response(report.model_dump(mode="json"))
