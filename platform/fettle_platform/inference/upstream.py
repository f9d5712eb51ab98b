"""The model server behind the gateway: one shared client a loop, its failures in our words."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from weakref import WeakKeyDictionary

import httpx

from fettle_platform.core.errors import FettleError, InvalidRequest, RateLimited, Unavailable, UpstreamFailed

CONNECT_S = 5.0
# A stream has to show something within this; a whole answer is only seen when all of it is there.
STREAM_READ_S = 60.0
WHOLE_READ_S = 600.0
RETRY_AFTER_S = 5

_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()


def _client() -> httpx.AsyncClient:
    """Connections belong to the event loop that opened them."""
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        limits = httpx.Limits(max_connections=512, max_keepalive_connections=64)
        # `retries` only repeats the connecting; nothing was sent then. No proxy from the environment: this is private.
        transport = httpx.AsyncHTTPTransport(retries=1, limits=limits)
        _clients[loop] = httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False)
    return _clients[loop]


async def open_completion(base_url: str, body: bytes, *, stream: bool, request_id: str) -> httpx.Response:
    """Send the request and return as soon as the status is known; the caller reads the body and closes.

    Raises:
        Unavailable: no connection, or no answer in time.
        FettleError: the model server refused; its own message, where it is for the user.
    """
    read_s = STREAM_READ_S if stream else WHOLE_READ_S
    request = _client().build_request(
        "POST",
        f"{base_url}/v1/chat/completions",
        content=body,
        headers={"content-type": "application/json", "x-request-id": request_id},
        timeout=httpx.Timeout(read_s, connect=CONNECT_S, pool=CONNECT_S),
    )
    try:
        response = await _client().send(request, stream=True)
        if response.status_code == 200:
            return response
        try:
            raw = await response.aread()
        finally:
            await response.aclose()
    except httpx.HTTPError as error:
        raise unreachable(error) from error
    raise refusal(response, raw)


async def ask(client: httpx.AsyncClient, base_url: str, body: bytes) -> dict[str, Any]:
    """One whole answer, over a client of the caller's own.

    Raises:
        FettleError: as `open_completion`; UpstreamFailed for an answer that is no JSON object.
    """
    try:
        response = await client.post(
            f"{base_url}/v1/chat/completions", content=body, headers={"content-type": "application/json"}
        )
    except httpx.HTTPError as error:
        raise unreachable(error) from error
    if response.status_code != 200:
        raise refusal(response, response.content)
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise UpstreamFailed("The model server's answer is not a chat completion.")
    return answer


def unreachable(error: httpx.HTTPError) -> FettleError:
    """The model server is away or too slow."""
    slow = isinstance(error, httpx.TimeoutException)
    what = "did not answer in time" if slow else "cannot be reached"
    failure = Unavailable(f"The model server {what}; try again in a moment.", code="model_server_unavailable")
    failure.headers = {"retry-after": str(RETRY_AFTER_S)}
    return failure


def refusal(response: httpx.Response, raw: bytes) -> FettleError:
    """What the model server said, as the error to raise."""
    error = _error_of(raw)
    message = str(error.get("message") or f"The model server answered with status {response.status_code}.")
    param = error.get("param")
    match response.status_code:
        case 400 | 413 | 422:
            code = error.get("code")
            return InvalidRequest(
                message,
                param=param if isinstance(param, str) else None,
                code=code if isinstance(code, str) else "invalid_value",
            )
        case 429:
            return RateLimited("The model server is busy; try again in a moment.", retry_after_s=_retry_after(response))
        case 503:
            failure = Unavailable(f"The model server is not ready: {message}", code="model_server_unavailable")
            failure.headers = {"retry-after": str(round(_retry_after(response)))}
            return failure
    return UpstreamFailed(f"The model server failed with status {response.status_code}.")


def _error_of(raw: bytes) -> dict[str, Any]:
    """The envelope; also the bare form of older vLLM servers."""
    try:
        data = json.loads(raw)
    except ValueError:
        return {}
    if not isinstance(data, dict):
        return {}
    inner = data.get("error", data)
    return inner if isinstance(inner, dict) else {}


def _retry_after(response: httpx.Response) -> float:
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdecimal() and len(text) < 5 else float(RETRY_AFTER_S)
