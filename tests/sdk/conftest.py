"""A small real HTTP server with canned answers that remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fettle import AsyncFettle, Fettle


@dataclass
class Recorded:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Wire:
    """`answers[(method, path)]` is a list: the first is used up, the last one stays."""

    url: str = ""
    answers: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)
    requests: list[Recorded] = field(default_factory=list)

    def on(
        self, method: str, path: str, *bodies: Any, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        self.answers[method, path] = [
            body if isinstance(body, Answer) else Answer(body, status, headers or {}) for body in bodies
        ]

    def next(self, method: str, path: str) -> Answer:
        found = self.answers.get((method, path))
        if not found:
            error = {"message": f"no route {method} {path}", "type": "invalid_request_error", "param": None}
            return Answer({"error": {**error, "code": "not_found"}}, 404)
        return found.pop(0) if len(found) > 1 else found[0]

    def asked(self, method: str, path: str) -> list[Recorded]:
        return [each for each in self.requests if (each.method, each.path.partition("?")[0]) == (method, path)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wire: Wire

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = self._chunks()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.wire.requests.append(Recorded(self.command, self.path, headers, body))
        answer = self.wire.next(self.command, self.path.partition("?")[0])
        content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", "x-request-id": "req_1", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    do_GET = do_POST = do_DELETE = _answer

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def wire() -> Iterator[Wire]:
    found = Wire()
    handler = type("BoundHandler", (Handler,), {"wire": found})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "FETTLE_API_KEY",
        "FETTLE_BASE_URL",
        "OPENAI_API_KEY",
        "OPENAI_ORG_ID",
        "OPENAI_PROJECT_ID",
        "NO_COLOR",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def client(wire: Wire) -> Iterator[Fettle]:
    with Fettle(base_url=wire.url, api_key="fk_test", max_retries=0) as found:
        yield found


@pytest.fixture
def async_client(wire: Wire) -> AsyncFettle:
    return AsyncFettle(base_url=wire.url, api_key="fk_test", max_retries=0)


def job(status: str = "queued", **changes: Any) -> dict[str, Any]:
    return {
        "id": "ftjob-1",
        "object": "fine_tuning.job",
        "created_at": 1790000000,
        "finished_at": None,
        "model": "tiny",
        "fine_tuned_model": None,
        "organization_id": "org-1",
        "status": status,
        "training_file": "file-tr",
        "validation_file": None,
        "result_files": [],
        "trained_tokens": None,
        "error": None,
        "hyperparameters": {},
        "method": {"type": "reinforcement", "reinforcement": {}},
        "seed": 7,
        **changes,
    }


SELECTION = {
    "object": "fettle.selection",
    "verdict": "improved",
    "chosen_step": 20,
    "rule": "lowest KL within one standard error of the best",
    "base_mean": 0.25,
    "chosen_mean": 0.75,
    "gain": 0.5,
    "gain_low": 0.375,
    "gain_high": 0.625,
    "confidence": 0.95,
    "num_items": 40,
    "samples_per_item": 2,
    "in_sample": False,
    "measured_on": "40 held-out rows",
    "kl_nats": 0.0125,
    "candidates": [
        {"step": 0, "adapter_digest": "a", "mean": 0.25, "standard_error_vs_best": 0.06, "kl_nats": 0.0,
         "eligible": False, "reason": "worse than the best by more than one standard error"},
        {"step": 20, "adapter_digest": "b", "mean": 0.75, "standard_error_vs_best": 0.0, "kl_nats": 0.0125,
         "eligible": True, "reason": "the best"},
    ],
}  # fmt: skip


def event(number: int, message: str = "Created", *, level: str = "info", data: Any = None) -> dict[str, Any]:
    return {
        "id": f"ftevent-{number}",
        "object": "fine_tuning.job.event",
        "created_at": 1790000000 + number,
        "level": level,
        "message": message,
        "type": "metrics" if data else "message",
        "data": data,
    }


def step_data(step: int, reward: float, *, valid: float | None = None) -> dict[str, Any]:
    scores: dict[str, Any] = {"train_reward_mean": reward, "graders": []}
    extra: dict[str, Any] = {"kl_nats": 0.001 * step, "tokens_per_s": 812.4, "eta_s": 40.0 - 10 * step}
    if valid is not None:
        scores["valid_reward_mean"] = valid
        extra["evaluation"] = {"standard_error": 0.05, "kl_nats": 0.001, "num_items": 40}
    return {"step": step, "total_steps": 4, "scores": scores, "fettle": extra}


def page(*items: dict[str, Any], has_more: bool = False) -> dict[str, Any]:
    return {"object": "list", "data": list(items), "has_more": has_more}


def file_object(file_id: str = "file-tr", **changes: Any) -> dict[str, Any]:
    return {
        "id": file_id,
        "object": "file",
        "bytes": 10,
        "created_at": 1790000000,
        "filename": "train.jsonl",
        "purpose": "fine-tune",
        "status": "processed",
        **changes,
    }


@pytest.fixture
def shapes() -> Any:
    """The functions above, for tests (conftest modules cannot be imported)."""
    import types

    return types.SimpleNamespace(
        job=job, event=event, step_data=step_data, page=page, file=file_object, SELECTION=SELECTION, Answer=Answer
    )
