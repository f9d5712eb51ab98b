"""The outermost layers of every request: its id and log line, and shapes that no view should have to think about."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from fettle_platform.core import logs
from fettle_platform.core.errors import InvalidRequest
from fettle_platform.core.ids import random_base62
from fettle_platform.core.views import error_response

log = logging.getLogger(__name__)
_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@sync_and_async_middleware
def request_log(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Gives each request an id (a client's own `x-request-id` is kept), returns it as a header, writes one log line."""

    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponseBase:
            started = _begin(request)
            return _end(request, await get_response(request), started)

    else:

        def middleware(request: HttpRequest) -> HttpResponseBase:
            started = _begin(request)
            return _end(request, get_response(request), started)

    return middleware


def _begin(request: HttpRequest) -> float:
    given = request.headers.get("x-request-id", "")
    request.request_id = given if _ACCEPTED_ID.fullmatch(given) else f"req_{random_base62(24)}"  # type: ignore[attr-defined]
    logs.request_id.set(request.request_id)  # type: ignore[attr-defined]
    return time.monotonic()


def _end(request: HttpRequest, response: HttpResponseBase, started: float) -> HttpResponseBase:
    response.headers["x-request-id"] = request.request_id  # type: ignore[attr-defined]
    fields = {
        "method": request.method,
        "path": request.path,
        "status": response.status_code,
        "duration_ms": round((time.monotonic() - started) * 1000, 1),
    }
    # Supervisors beat every few seconds; people do not read that.
    level = logging.DEBUG if request.path.startswith(("/internal/", "/healthz")) else logging.INFO
    log.log(level, "request", extra={"fields": fields})
    return response


@sync_and_async_middleware
def request_shape(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Refuses null characters in addresses (databases do too, as a 500), and gives chunked bodies a length."""

    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponseBase:
            return _refusal(request) or await get_response(request)

    else:

        def middleware(request: HttpRequest) -> HttpResponseBase:
            return _refusal(request) or get_response(request)

    return middleware


def _refusal(request: HttpRequest) -> HttpResponseBase | None:
    if "\x00" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
        return error_response(InvalidRequest("The address contains a null character"))
    _measure_chunked_body(request)
    return None


def _measure_chunked_body(request: HttpRequest) -> None:
    """REST framework takes a request without Content-Length for one without a body; Django has spooled it to a file."""
    spooled = getattr(request, "_stream", None)
    if "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower() and hasattr(spooled, "seek"):
        request.META["CONTENT_LENGTH"] = str(spooled.seek(0, 2))
        spooled.seek(0)
