"""A control plane that answers like the real one and remembers what it was told."""

import json
import socket
import threading

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from fettle_workers.contract.events import EVENT


class FakeControlPlane:
    def __init__(self, spec):
        self.spec = spec
        self.resume = None
        self.lease_s = 30.0
        self.desired = "run"
        self.fenced = False
        self.away = False
        self.failures = 0  # answer 503 to this many event posts, after having taken them in
        self.events = {}
        self.posts = []
        self.releases = []
        self.on_event = lambda event: None

    @property
    def kinds(self):
        return [self.events[sequence]["type"] for sequence in sorted(self.events)]

    async def handle(self, request):
        call = request.path_params["call"]
        expected = "Bearer workers" if call == "claim" else "Bearer attempt"
        assert request.headers["authorization"] == expected
        body = json.loads(await request.body())
        if self.away:
            return JSONResponse({"error": {"message": "away"}}, status_code=503)
        if self.fenced or body["attempt"] != 1:
            return JSONResponse({"error": {"message": "over"}}, status_code=410)
        if call == "claim":
            answer = {
                "spec": self.spec,
                "attempt": 1,
                "token": "attempt",
                "lease_s": self.lease_s,
                "judge_token": "judge",
                "resume": self.resume,
            }
            return JSONResponse(answer)
        if call == "release":
            self.releases.append(body)
        if call == "events":
            self.posts.append([entry["sequence"] for entry in body["events"]])
            for entry in body["events"]:
                EVENT.validate_python(entry["event"])
                self.events[entry["sequence"]] = entry["event"]
                self.on_event(entry["event"])
            if self.failures:
                self.failures -= 1
                return JSONResponse({"error": {"message": "try again"}}, status_code=503)
        return JSONResponse({"desired": self.desired, "lease_s": self.lease_s})


@pytest.fixture
def spec():
    return {
        "job_id": "ftjob-1",
        "base_model": "fettle-tiny",
        "seed": 1,
        "method": {"type": "supervised"},
        "training_file": {"file_id": "file-1", "key": "files/file-1", "sha256": "", "size_bytes": 0},
    }


@pytest.fixture
def control_plane(spec):
    fake = FakeControlPlane(spec)
    app = Starlette(routes=[Route("/internal/jobs/ftjob-1/{call}", fake.handle, methods=["POST"])])
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    yield fake
    server.should_exit = True
    thread.join()
