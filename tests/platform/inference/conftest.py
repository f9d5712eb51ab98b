"""A model server in a thread that remembers what it was asked and answers what it is told."""

import asyncio
import json
import threading
import time

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route


class Upstream:
    def __init__(self):
        self.requests = []
        self.status, self.error, self.headers = 200, None, {}
        self.release = threading.Event()  # a "hold" answer waits for it
        self.release.set()
        self.arrived = threading.Event()
        self.left = threading.Event()  # the gateway closed a stream before its end
        self.break_after = None

    async def complete(self, request):
        body = await request.json()
        self.requests.append(body)
        self.arrived.set()
        if self.status != 200:
            return JSONResponse(self.error, self.status, headers=self.headers)
        if body.get("stream"):
            return StreamingResponse(self.chunks(body), media_type="text/event-stream")
        while not self.release.is_set():
            if await request.is_disconnected():
                self.left.set()
                return JSONResponse({})
            await asyncio.sleep(0.01)
        return JSONResponse(completion(body))

    async def chunks(self, body):
        try:
            for index, word in enumerate(["Hel", "lo", None]):
                while index and not self.release.is_set():
                    await asyncio.sleep(0.01)
                if self.break_after == index:
                    raise RuntimeError("the server dies")
                yield f"data: {json.dumps(chunk(body, word))}\n\n"
            yield "data: [DONE]\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            self.left.set()
            raise


def completion(body):
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "logprobs": None,
                "message": {"role": "assistant", "content": "Hello", "refusal": None, "reasoning_content": "Hm."},
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


def chunk(body, word):
    delta = {"content": word} if word else {}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "delta": delta, "finish_reason": None if word else "stop"}],
    }


@pytest.fixture
def upstream(change_env):
    state = Upstream()
    application = Starlette(routes=[Route("/v1/chat/completions", state.complete, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline, "the model server did not start"
        time.sleep(0.01)
    change_env(inference_url=f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
    try:
        yield state
    finally:
        state.release.set()
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def tuned(scope):
    """A fine-tuned model of the caller: (public id, name at the model server)."""
    from datetime import UTC, datetime

    from fettle_platform.registry.services import model_register

    name, digest = "ft:fettle-tiny:acme:sums:a1B2c3D4", "b" * 64
    model_register(
        project=scope.project,
        public_id=name,
        base_model="fettle-tiny",
        adapter_digest=digest,
        job_id="ftjob-1",
        step=8,
        is_checkpoint=False,
        parent="fettle-tiny",
        details={},
        now=datetime(2026, 11, 21, tzinfo=UTC),
    )
    return name, f"ft-{digest}"
