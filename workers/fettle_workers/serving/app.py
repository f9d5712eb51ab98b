"""The HTTP side: the routes, the stream, and what happens when a client goes away."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from fettle_workers.contract.scoring import EmbedCall, ScoreCall
from fettle_workers.contract.spec import TrainSpec
from fettle_workers.serving.choice import Delta
from fettle_workers.serving.errors import BadRequest, ServingError, bad_request
from fettle_workers.serving.models import Models
from fettle_workers.serving.plans import Plans
from fettle_workers.serving.prepare import Prepared, prepare
from fettle_workers.serving.scheduler import Job, Scheduler
from fettle_workers.serving.schema import ChatRequest
from fettle_workers.serving.scoring import Scoring
from fettle_workers.serving.wire import Envelope, add, frame

MAX_BODY_BYTES = 16 * 2**20
M = TypeVar("M", bound=BaseModel)
_log = logging.getLogger(__name__)


class Answering:
    """A request that the scheduler works on: iterate it for its deltas until every choice has finished."""

    def __init__(self, prepared: Prepared, scheduler: Scheduler) -> None:
        self._events: asyncio.Queue[list[tuple[int, Delta]] | Exception] = asyncio.Queue()
        self._scheduler = scheduler
        self._num_open = len(prepared.parts)
        loop = asyncio.get_running_loop()

        def deliver(event: list[tuple[int, Delta]] | Exception) -> None:
            loop.call_soon_threadsafe(self._events.put_nowait, event)

        self._job = Job(prepared.model.policy, prepared.parts, on_deltas=deliver, on_error=deliver)
        scheduler.submit(self._job)

    async def __aiter__(self) -> AsyncIterator[tuple[int, Delta]]:
        while self._num_open:
            event = await self._events.get()
            if isinstance(event, Exception):
                _log.error("decoding failed", exc_info=event)
                raise ServingError("the model failed while it wrote the answer") from event
            for index, delta in event:
                self._num_open -= delta.finish_reason is not None
                yield index, delta

    def close(self) -> None:
        """Stop decoding, if it is not over."""
        if self._num_open:
            self._scheduler.cancel(self._job)


def create_app(models: Models, scheduler: Scheduler, plans: Plans, scoring: Scoring) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        scheduler.start()
        yield
        scheduler.stop()

    async def chat_completions(request: Request) -> Response:
        chat = _parse(ChatRequest, await _body(request))
        model = models.loaded(chat.model)
        if model is None:
            model = await asyncio.to_thread(models.get, chat.model)
        prepared = await asyncio.to_thread(prepare, chat, model)
        envelope = Envelope(chat.model, len(prepared.prompt_ids), bool(chat.logprobs))
        answering = Answering(prepared, scheduler)
        if chat.stream:
            with_usage = chat.stream_options is not None and chat.stream_options.include_usage
            frames = _frames(prepared, answering, envelope, with_usage=with_usage)
            return StreamingResponse(frames, media_type="text/event-stream", headers={"cache-control": "no-cache"})
        return await _whole(request, prepared, answering, envelope)

    async def foresee_plan(request: Request) -> Response:
        spec = _parse(TrainSpec, await _body(request))
        name = f"ft-{spec.init_adapter.digest}" if spec.init_adapter else spec.base_model
        model = await asyncio.to_thread(models.get, name)
        plan = await asyncio.to_thread(plans.foresee, spec, model.policy)
        return _plain(plan)

    async def score(request: Request) -> Response:
        return _plain(await asyncio.to_thread(scoring.score, _parse(ScoreCall, await _body(request))))

    async def embed(request: Request) -> Response:
        return _plain(await asyncio.to_thread(scoring.embed, _parse(EmbedCall, await _body(request))))

    async def list_models(request: Request) -> Response:
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "fettle"} for name in models.base_names]
        return JSONResponse({"object": "list", "data": data})

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", **scheduler.load})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat_completions, methods=["POST"]),
            Route("/v1/models", list_models),
            Route("/fettle/plan", foresee_plan, methods=["POST"]),
            Route("/fettle/scores", score, methods=["POST"]),
            Route("/fettle/embeddings", embed, methods=["POST"]),
            Route("/healthz", health),
        ],
        lifespan=lifespan,
        exception_handlers={ServingError: _failed, HTTPException: _refused, Exception: _crashed},
    )


def _plain(answer: BaseModel) -> Response:
    return JSONResponse(answer.model_dump(mode="json"))


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise BadRequest(f"the body is larger than {MAX_BODY_BYTES} bytes", code="payload_too_large")
    return bytes(body)


def _parse(model: type[M], body: bytes) -> M:
    try:
        data = json.loads(body)
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}", code="invalid_json") from error
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise bad_request(error) from error


async def _whole(request: Request, prepared: Prepared, answering: Answering, envelope: Envelope) -> Response:
    answers = [Delta() for _ in prepared.parts]

    async def collect() -> None:
        async for index, delta in answering:
            add(answers[index], delta)

    collecting = asyncio.create_task(collect())
    leaving = asyncio.create_task(_client_left(request))
    try:
        await asyncio.wait({collecting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not collecting.done():
            return Response(status_code=499)  # nobody reads it
        collecting.result()
    finally:
        collecting.cancel()
        leaving.cancel()
        answering.close()
    return JSONResponse(envelope.completion([part.choice for part in prepared.parts], answers))


async def _client_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _frames(
    prepared: Prepared, answering: Answering, envelope: Envelope, *, with_usage: bool
) -> AsyncIterator[bytes]:
    extra: dict[str, Any] = {"usage": None} if with_usage else {}
    choices = [part.choice for part in prepared.parts]
    try:
        for index in range(len(choices)):
            yield frame(envelope.opening(index) | extra)
        async for index, delta in answering:
            for chunk in envelope.chunks(index, delta):
                yield frame(chunk | extra)
        if with_usage:
            yield frame(envelope.usage_chunk(choices))
        yield frame("[DONE]")
    except ServingError as error:
        yield frame(error.body())
    finally:
        answering.close()


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServingError)
    return JSONResponse(error.body(), status_code=error.status, headers=error.headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = "invalid_request_error" if error.status_code < 500 else "server_error"
    message = f"{request.method} {request.url.path}: {error.detail}"
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)


async def _crashed(request: Request, error: Exception) -> Response:
    return JSONResponse(ServingError("internal error of the model server").body(), status_code=500)
