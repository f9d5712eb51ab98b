"""Fresh answers of a model through the platform's own model server, a bounded number at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from django.conf import settings

from fettle_graders.sample import Sample
from fettle_platform.accounts.scoping import Scope
from fettle_platform.core.errors import Unavailable, UpstreamFailed
from fettle_platform.inference.limits import take_slot
from fettle_platform.inference.requests import parse_chat_data
from fettle_platform.inference.upstream import ask
from fettle_platform.lab.requests import BaseSource
from fettle_platform.registry.selectors import served_model

_AT_ONCE = 8
SAMPLING_S = 120.0


def sample_answers(
    scope: Scope, source: BaseSource, items: Sequence[Mapping[str, Any]], *, seed: int
) -> list[list[Sample]]:
    """`samples_per_row` answers to the prompt of each row. Takes one of the caller's places while it runs.

    Raises:
        NotFound: no such model for this project.
        InvalidRequest: a row has no prompt that can be sent, or the model server refused it.
        Unavailable: there is no model server, or it did not answer in time.
    """
    served = served_model(scope, source.model, shared=True)
    base_url = settings.FETTLE.inference_url
    if base_url is None:
        raise Unavailable("This server has no model server (FETTLE_INFERENCE_URL).", code="model_server_unavailable")
    bodies = [
        parse_chat_data(
            {
                "model": source.model,
                "messages": item.get("messages"),
                **({"tools": item["tools"]} if item.get("tools") else {}),
                "n": source.samples_per_row,
                "temperature": source.temperature,
                "max_completion_tokens": source.max_completion_tokens,
                "seed": seed + index,
            }
        ).upstream_body(served.upstream_name)
        for index, item in enumerate(items)
    ]
    slot = take_slot(scope.caller_id)
    try:
        answers = asyncio.run(_ask_all(base_url, bodies))
    except TimeoutError:
        raise Unavailable(
            f"The model server did not give {len(bodies)} x {source.samples_per_row} answers within "
            f"{SAMPLING_S:.0f} s; ask for fewer rows, or use a preflight, which runs on a worker.",
            code="model_server_unavailable",
        ) from None
    finally:
        slot.release()
    return [_samples(answer) for answer in answers]


async def _ask_all(base_url: str, bodies: Sequence[bytes]) -> list[dict[str, Any]]:
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(client: httpx.AsyncClient, body: bytes) -> dict[str, Any]:
        async with places:
            return await ask(client, base_url, body)

    async with asyncio.timeout(SAMPLING_S), httpx.AsyncClient(trust_env=False, timeout=SAMPLING_S) as client:
        return await asyncio.gather(*(one(client, body) for body in bodies))


def _samples(answer: Mapping[str, Any]) -> list[Sample]:
    try:
        messages = [choice["message"] for choice in answer["choices"]]
        return [
            Sample(
                output_text=message.get("content") or "",
                output_reasoning=message.get("reasoning_content"),
                output_tools=message.get("tool_calls") or None,
            )
            for message in messages
        ]
    except (KeyError, TypeError, AttributeError):
        raise UpstreamFailed("The model server's answer is not a chat completion.") from None
