"""A POST that is sent twice has one effect.

Usage: `@idempotent` on a view's `post`, which honours the header `Idempotency-Key`: for a day, the same key on the same
route with the same body gets the stored answer; with another body 400; while the first is still running 409.

Usage: `@idempotent(dedupe_retries=True)` also covers clients that send no such header. The official client repeats a
creation after a time-out and says so only in `x-stainless-retry-count`: such a repeat, with the key and body of a
request of the last 15 minutes, gets the answer of that request. Two first attempts with equal bodies are two requests.
Effect and answer are then one transaction: whatever dies in between, there are both or neither.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, overload

from django.db import IntegrityError, transaction
from django.utils import timezone
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from fettle_platform.core.errors import InFlight, InvalidRequest
from fettle_platform.core.models import GivenAnswer

KEPT = timedelta(days=1)
RETRY_WINDOW = timedelta(minutes=15)
# A request that never finished: its process died. Later repeats run again.
ABANDONED = timedelta(minutes=10)
# The same where the effect is rolled back with its process, and no request takes long.
ABANDONED_TRANSACTION = timedelta(seconds=20)

Post = Callable[..., Response]


@overload
def idempotent(post: Post) -> Post: ...
@overload
def idempotent(*, dedupe_retries: bool = False) -> Callable[[Post], Post]: ...
def idempotent(post: Post | None = None, *, dedupe_retries: bool = False) -> Post | Callable[[Post], Post]:
    """See the module. Only answers below 300 are kept: what was refused had no effect and may be corrected."""

    def decorate(function: Post) -> Post:
        @functools.wraps(function)
        def wrapper(view: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
            given = request.headers.get("Idempotency-Key")
            if given is not None:
                abandoned = ABANDONED_TRANSACTION if dedupe_retries else ABANDONED
                claim = _claim_key(request, _checked(given), abandoned=abandoned)
            elif dedupe_retries:
                claim = _claim_body(request)
            else:
                return function(view, request, *args, **kwargs)
            if isinstance(claim, Response):
                return claim
            return _run(claim, lambda: function(view, request, *args, **kwargs), as_one=dedupe_retries)

        return wrapper

    return decorate if post is None else decorate(post)


def given_answers_expire() -> int:
    """Forget answers older than a day; returns how many. Called by the tick."""
    return GivenAnswer.objects.filter(created_at__lt=timezone.now() - KEPT).delete()[0]


def _checked(key: str) -> str:
    if not 1 <= len(key) <= 255 or not key.isprintable():
        raise InvalidRequest("Idempotency-Key has to be 1 to 255 printable characters", param="Idempotency-Key")
    return key


def _claim_key(request: Request, key: str, *, abandoned: timedelta) -> GivenAnswer | Response:
    row = GivenAnswer(
        owner=request.auth.project.public_id, route=request.path[:500], key=key, body_sha256=body_digest(request)
    )
    _forget(row, older_than=KEPT, abandoned=abandoned)
    if _insert(row):
        return row
    earlier = GivenAnswer.objects.filter(owner=row.owner, route=row.route, key=key).first()
    if earlier is not None and earlier.body_sha256 != row.body_sha256:
        message = "This Idempotency-Key was used with another request body; use a new key for a new request"
        raise InvalidRequest(message, param="Idempotency-Key")
    return _replay(earlier)


def _claim_body(request: Request) -> GivenAnswer | Response:
    digest = body_digest(request)
    row = GivenAnswer(owner=request.auth.caller_id, route=request.path[:500], key=f"body:{digest}", body_sha256=digest)
    is_retry = _retry_count(request) >= 1
    _forget(row, older_than=RETRY_WINDOW if is_retry else timedelta(0), abandoned=ABANDONED_TRANSACTION)
    if _insert(row):
        return row
    if is_retry:
        return _replay(GivenAnswer.objects.filter(owner=row.owner, route=row.route, key=row.key).first())
    # Another first attempt with the same body began in this instant; it keeps the row, this one goes unrecorded.
    return row


def _forget(row: GivenAnswer, *, older_than: timedelta, abandoned: timedelta) -> None:
    """Make room for `row`: answers past their time, and requests that were never finished."""
    now = timezone.now()
    same = GivenAnswer.objects.filter(owner=row.owner, route=row.route, key=row.key)
    same.filter(created_at__lte=now - older_than).delete()
    same.filter(status=None, created_at__lte=now - abandoned).delete()


def _insert(row: GivenAnswer) -> bool:
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        row.pk = None
        return False
    return True


def _replay(earlier: GivenAnswer | None) -> Response:
    if earlier is None or earlier.status is None:
        raise InFlight("The same request is still being worked on")
    return Response(json.loads(earlier.body), status=earlier.status, headers={"idempotent-replayed": "true"})


def _run(row: GivenAnswer, post: Callable[[], Response], *, as_one: bool) -> Response:
    kept = GivenAnswer.objects.filter(pk=row.pk)
    try:
        with transaction.atomic() if as_one else contextlib.nullcontext():
            response = post()
            if response.status_code < 300:
                kept.update(status=response.status_code, body=JSONRenderer().render(response.data).decode())
    except BaseException:
        kept.delete()
        raise
    if response.status_code >= 300:
        kept.delete()
    return response


def body_digest(request: Request) -> str:
    """SHA-256 of what was sent. In a multipart body the boundary is random, so its fields are digested instead."""
    if not request.content_type.startswith("multipart/"):
        return hashlib.sha256(request.body).hexdigest()
    fields = sorted((name, request.data.getlist(name)) for name in request.data if name not in request.FILES)
    files = sorted((name, file.name, file.sha256) for name, file in request.FILES.items())
    return hashlib.sha256(json.dumps([fields, files]).encode()).hexdigest()


def _retry_count(request: Request) -> int:
    text = request.headers.get("x-stainless-retry-count", "0")
    return int(text) if text.isdigit() and len(text) < 6 else 0
