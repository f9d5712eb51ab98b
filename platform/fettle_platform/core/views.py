"""The routes that belong to no app, and the pages Django answers by itself, all in the error envelope."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fettle_platform.core.errors import (
    FettleError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Unavailable,
    as_fettle_error,
    envelope,
)
from fettle_platform.core.errors import Forbidden as ForbiddenError

log = logging.getLogger(__name__)
AsyncView = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


class Healthz(APIView):
    """Whether this process can do work: it answers and reaches its database."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(exclude=True)
    def get(self, request: Request) -> Response:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except DatabaseError as error:
            raise Unavailable("The database cannot be reached") from error
        return Response({"status": "ok"})


class OpenAPISchema(SpectacularAPIView):
    renderer_classes = (OpenApiJsonRenderer,)


def error_response(error: FettleError) -> JsonResponse:
    return JsonResponse(envelope(error), status=error.status, headers=error.headers)


def async_endpoint(method: str) -> Callable[[AsyncView], AsyncView]:
    """For views that hold no thread while they wait, which REST framework cannot have: one method, and the envelope
    as the answer to every failure.
    """

    def decorated(view: AsyncView) -> AsyncView:
        @functools.wraps(view)
        async def answered(request: HttpRequest) -> HttpResponseBase:
            try:
                if request.method != method:
                    raise MethodNotAllowed(f'Method "{request.method}" not allowed.')
                return await view(request)
            except Exception as exception:
                error = as_fettle_error(exception)
                if isinstance(error, InternalError):
                    log.error("unhandled error in %s", request.path, exc_info=exception)
                elif error.status >= 500:
                    log.warning("%s: %s", error.code, error.message)
                return error_response(error)

        return answered

    return decorated


def unknown_route(request: HttpRequest, exception: Any = None) -> JsonResponse:
    message = f"Unknown request URL: {request.method} {request.path}. Check the path and the base URL."
    return error_response(NotFound(message, code="unknown_url"))


def bad_request(request: HttpRequest, exception: Any = None) -> JsonResponse:
    # Django refuses a Host header that is not listed before any view runs; the operator must hear what to set.
    if type(exception).__name__ == "DisallowedHost":
        message = "This host name is not served here. The operator lists served names in FETTLE_ALLOWED_HOSTS."
        return error_response(InvalidRequest(message, code="invalid_host"))
    return error_response(InvalidRequest("The request is malformed", code="invalid_request"))


def forbidden(request: HttpRequest, exception: Any = None) -> JsonResponse:
    return error_response(ForbiddenError("This request is not allowed"))


def server_error(request: HttpRequest) -> JsonResponse:
    return error_response(InternalError())
