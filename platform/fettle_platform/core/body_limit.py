"""Refuses bodies that are too large before Django spools them to disk. It wraps the ASGI application."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from fettle_platform.core.errors import PayloadTooLarge, envelope
from fettle_platform.core.ids import random_base62

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

# A client that is still sending when the answer comes sees a broken connection and not the answer; so a moderate
# excess is read and thrown away first.
_DRAINED_BYTES = 16 * 1024 * 1024
# Form fields and part headers around the file.
_FORM_BYTES = 1024 * 1024
_PART_PATH = re.compile(r"/v1/uploads/[^/]+/parts")


class Limits(Protocol):
    max_file_bytes: int
    max_part_bytes: int
    max_json_bytes: int


class BodyTooLarge(Exception):
    pass


class BodyLimit:
    """Answers 413 by the declared length, or when more has come than is allowed if no length was declared."""

    def __init__(self, application: Application, limits: Limits) -> None:
        self._application = application
        self._limits = limits

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        limit = self._limit_for(scope["path"])
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limit:
            await _drain(receive)
            await _answer(send, limit)
            return
        num_bytes = 0
        is_answered = False

        async def limited_receive() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > limit:
                raise BodyTooLarge
            return message

        async def watched_send(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        try:
            await self._application(scope, limited_receive, watched_send)
        except BodyTooLarge:
            if not is_answered:
                await _drain(receive)
                await _answer(send, limit)

    def _limit_for(self, path: str) -> int:
        if path == "/v1/files":
            return self._limits.max_file_bytes + _FORM_BYTES
        if _PART_PATH.fullmatch(path):
            return self._limits.max_part_bytes + _FORM_BYTES
        return self._limits.max_json_bytes


async def _drain(receive: Receive) -> None:
    num_bytes = 0
    while num_bytes < _DRAINED_BYTES:
        message = await receive()
        num_bytes += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return


async def _answer(send: Send, limit: int) -> None:
    body = json.dumps(envelope(PayloadTooLarge(f"The request body is larger than {limit} bytes"))).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", f"req_{random_base62(24)}".encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
