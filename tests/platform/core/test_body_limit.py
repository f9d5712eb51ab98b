import asyncio
import json
from types import SimpleNamespace

import pytest

from fettle_platform.core.body_limit import BodyLimit

KB = 1024
LIMITS = SimpleNamespace(max_file_bytes=100 * KB, max_part_bytes=50 * KB, max_json_bytes=10 * KB)
FORM = 1024 * KB


def send(path, pieces, declared=None):
    """What the application received in all, and what the client got: (bytes, status, headers, body)."""
    received, sent = [0], []

    async def application(scope, receive, answer):
        while True:
            message = await receive()
            received[0] += len(message["body"])
            if not message["more_body"]:
                break
        await answer({"type": "http.response.start", "status": 200, "headers": []})
        await answer({"type": "http.response.body", "body": b"{}"})

    queue = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    queue.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive():
        return queue.pop(0)

    async def answer(message):
        sent.append(message)

    headers = [(b"content-length", str(declared).encode())] if declared is not None else []
    scope = {"type": "http", "path": path, "headers": headers}
    asyncio.run(BodyLimit(application, LIMITS)(scope, receive, answer))
    return received[0], sent[0]["status"], dict(sent[0]["headers"]), json.loads(sent[1]["body"])


@pytest.mark.parametrize(
    ("path", "limit"),
    [("/v1/files", 100 * KB + FORM), ("/v1/uploads/upload_1/parts", 50 * KB + FORM), ("/v1/chat/completions", 10 * KB)],
)
def test_each_route_has_its_limit(path, limit):
    assert send(path, [b"x" * limit])[:2] == (limit, 200)
    assert send(path, [b"x" * (limit + 1)])[1] == 413
    assert send(path, [b"x"], declared=limit + 1)[:2] == (0, 413)


def test_a_body_of_undeclared_length_is_cut_off_at_the_limit():
    received, status, headers, body = send("/v1/x", [b"x" * KB] * 100)
    assert status == 413
    assert received <= 10 * KB
    assert body["error"]["code"] == "payload_too_large"
    assert headers[b"x-request-id"].startswith(b"req_")
