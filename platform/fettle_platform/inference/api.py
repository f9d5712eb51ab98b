"""`POST /v1/chat/completions`: who may use which model, and the way to the server that runs it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from fettle_platform.accounts.auth import KeyOrSession
from fettle_platform.accounts.scoping import Scope
from fettle_platform.core.errors import Unavailable, UpstreamFailed, envelope
from fettle_platform.core.views import async_endpoint
from fettle_platform.inference.limits import Slot, take_slot
from fettle_platform.inference.requests import ChatRequest, parse_chat_request
from fettle_platform.inference.upstream import open_completion, unreachable
from fettle_platform.registry.selectors import Served, served_model

log = logging.getLogger(__name__)


@async_endpoint("POST")
async def chat_completions(request: HttpRequest) -> HttpResponseBase:
    """Async, so that a request which waits for a model holds no thread. Cancelled when the client goes away."""
    scope, chat, served = await sync_to_async(_admit)(request)
    base_url = settings.FETTLE.inference_url
    if base_url is None:
        raise Unavailable("This server has no model server (FETTLE_INFERENCE_URL).", code="model_server_unavailable")
    slot = take_slot(scope.caller_id)
    try:
        exchange = await _open(base_url, chat, served, slot, getattr(request, "request_id", ""))
    except BaseException:
        slot.release()
        raise
    if chat.stream:
        return _streamed(exchange)
    return await exchange.whole()


def _admit(request: HttpRequest) -> tuple[Scope, ChatRequest, Served]:
    """Who asks, what for, and whether they may: everything that needs the database.

    The connection is given back at once. Django would keep it until the answer is complete, so that a few streams
    would hold all there are.
    """
    try:
        _, scope = KeyOrSession().authenticate(request)
        chat = parse_chat_request(request.body)
        return scope, chat, served_model(scope, chat.model, shared=True)
    finally:
        connection.close()


async def _open(base_url: str, chat: ChatRequest, served: Served, slot: Slot, request_id: str) -> _Exchange:
    body = chat.upstream_body(served.upstream_name)
    response = await open_completion(base_url, body, stream=bool(chat.stream), request_id=request_id)
    return _Exchange(response, served, slot)


def _streamed(exchange: _Exchange) -> StreamingHttpResponse:
    response = StreamingHttpResponse(exchange.frames(), content_type="text/event-stream")
    response["cache-control"] = "no-cache"
    response["x-accel-buffering"] = "no"
    # Django closes the answer in every case; the frames are not even begun when the client leaves early enough.
    response._resource_closers.append(exchange.close_from_any_thread)  # type: ignore[attr-defined]
    return response


class _Exchange:
    """One answer of the model server on its way to the client, and what has to be given back afterwards."""

    def __init__(self, response: httpx.Response, served: Served, slot: Slot) -> None:
        self._response = response
        self._served = served
        self._slot = slot
        self._loop = asyncio.get_running_loop()

    async def whole(self) -> HttpResponse:
        """Raises UpstreamFailed: the answer is not a completion."""
        try:
            raw = await self._response.aread()
            data = json.loads(raw)
            if not isinstance(data, dict) or not isinstance(data.get("choices"), list):
                raise ValueError("no choices")
        except httpx.HTTPError as error:
            raise unreachable(error) from error
        except ValueError as error:
            raise UpstreamFailed("The model server's answer is not a chat completion.") from error
        finally:
            await self._close()
        data["model"] = self._served.public_id
        return HttpResponse(json.dumps(data, ensure_ascii=False).encode(), content_type="application/json")

    async def frames(self) -> AsyncIterator[bytes]:
        """Server-sent events, passed on one by one with the public model id. A failure becomes a frame with `error`."""
        try:
            async for line in self._response.aiter_lines():
                if line.startswith("data:"):
                    yield b"data: " + self._renamed(line[5:].strip()) + b"\n\n"
        except httpx.HTTPError as error:
            log.warning("the model server broke off a stream: %r", error)
            failure = envelope(unreachable(error))
            yield b"data: " + json.dumps(failure).encode() + b"\n\n"
        finally:
            await self._close()

    def _renamed(self, payload: str) -> bytes:
        try:
            chunk: Any = json.loads(payload)
        except ValueError:  # [DONE]
            return payload.encode()
        if isinstance(chunk, dict) and "model" in chunk:
            chunk["model"] = self._served.public_id
        return json.dumps(chunk, ensure_ascii=False).encode()

    async def _close(self) -> None:
        self._slot.release()
        # Shielded: when the client has left, this runs inside a cancelled task, and the server must still be told.
        await asyncio.shield(self._response.aclose())

    def close_from_any_thread(self) -> None:
        self._slot.release()
        if not self._response.is_closed and not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._response.aclose(), self._loop)
