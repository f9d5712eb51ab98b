"""`GET /v1/fettle/stream`: hints about jobs that changed, for the pages that show them."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import connection
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse

from fettle_platform.accounts.auth import KeyOrSession, visible_projects
from fettle_platform.core.errors import Unavailable
from fettle_platform.core.views import async_endpoint
from fettle_platform.jobs.stream import MAX_LISTENERS, hub


@async_endpoint("GET")
async def stream(request: HttpRequest) -> HttpResponseBase:
    """Server-sent events without an end; the server closes them after some minutes. `Last-Event-ID` goes on."""
    if not isinstance(request, ASGIRequest):
        raise Unavailable("This server runs under WSGI and has no event stream; ask for what is new instead.")
    projects = await sync_to_async(_projects)(request)
    if hub.is_closed or hub.num_listeners >= MAX_LISTENERS:
        raise Unavailable("This server opens no further event stream now; ask for what is new instead.")
    frames = hub.frames(projects, last_id=request.headers.get("Last-Event-ID", ""))
    response = StreamingHttpResponse(frames, content_type="text/event-stream")
    response["cache-control"] = "no-cache, no-transform"
    response["x-accel-buffering"] = "no"
    return response


def _projects(request: HttpRequest) -> frozenset[int]:
    """The connection is given back at once; Django would keep it for as long as the stream lasts."""
    try:
        _, scope = KeyOrSession().authenticate(request)
        return visible_projects(scope)
    finally:
        connection.close()
