"""For all tests: their order, and a real HTTP server on loopback that does what a test scripts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

# What needs more than `make test` brings runs where it is asked for: `pytest -m vllm`.
ON_REQUEST = ("real_s3", "vllm", "embeddings")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Fast ones first: what starts whole platforms runs last, whatever order plugins chose."""
    unasked = [mark for mark in ON_REQUEST if mark not in config.option.markexpr]
    left_out = [item for item in items if any(item.get_closest_marker(mark) for mark in unasked)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: item.get_closest_marker("e2e") is not None)


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Reply = Callable[[BaseHTTPRequestHandler, Asked], None]


def reply(status: int, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
    """A whole answer; anything but bytes goes out as JSON."""

    def answer(handler: BaseHTTPRequestHandler, asked: Asked) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(raw)

    return answer


@dataclass
class Server:
    """`script` is taken from its front; the last entry stays."""

    url: str
    script: list[Reply]
    asked: list[Asked] = field(default_factory=list)


@pytest.fixture(name="reply")
def reply_fixture() -> Callable[..., Reply]:
    return reply


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    running: list[ThreadingHTTPServer] = []

    def serve_(*script: Reply) -> Server:
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                with lock:
                    server.asked.append(asked)
                    answer = server.script.pop(0) if len(server.script) > 1 else server.script[0]
                answer(self, asked)

            def log_message(self, *args: object) -> None:
                pass

        http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        http.daemon_threads = True
        server = Server(f"http://127.0.0.1:{http.server_port}", list(script))
        running.append(http)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        return server

    yield serve_
    for http in running:
        http.shutdown()
        http.server_close()
