"""Browser sessions: Django's own, kept in the database, named by a cookie that scripts cannot read.

The middleware that Django ships for this would run for every API call; here the cookie is read only where a request
carries no key. Requests that change something must also carry the token of the CSRF cookie and come from this origin.
"""

from __future__ import annotations

import copy
from typing import Any

from django.conf import settings
from django.contrib import auth
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.authentication import CSRFCheck

from fettle_platform.accounts.models import User
from fettle_platform.core.errors import Forbidden

LIFETIME_S = 14 * 24 * 3600


def session_start(request: HttpRequest, response: HttpResponseBase, user: User) -> None:
    """A new session of `user`, whatever session the browser had before."""
    session_end(request, response)
    request.session = SessionStore()
    request.session.set_expiry(LIFETIME_S)
    auth.login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
    request.session.save()
    response.set_cookie(
        _cookie_name(request),
        request.session.session_key,
        max_age=LIFETIME_S,
        httponly=True,
        samesite="Lax",
        secure=request.is_secure(),
    )


def session_end(request: HttpRequest, response: HttpResponseBase) -> None:
    key = request.COOKIES.get(_cookie_name(request))
    if key:
        SessionStore(key).delete()
        response.delete_cookie(_cookie_name(request), samesite="Lax")


def session_user(request: HttpRequest) -> User | None:
    """Whose session the cookie names. None when there is none, it is over, or the password changed since."""
    key = request.COOKIES.get(_cookie_name(request))
    if not key or not key.isascii() or not key.isalnum():
        return None
    request.session = SessionStore(key)
    user: Any = auth.get_user(request)
    return user if isinstance(user, User) else None


def csrf_require(request: HttpRequest) -> None:
    """Raises Forbidden: a request that changes something did not come from this server's own page."""
    # Django looks into the body of a POST for the token first and would parse whole uploads; ours is in the header.
    bodyless = copy.copy(request)
    if request.method == "POST":
        bodyless.method = "PUT"
    check = CSRFCheck(lambda _: None)
    check.process_request(bodyless)
    reason = check.process_view(bodyless, None, (), {})
    if reason:
        raise Forbidden(f"The request did not come from this server's page: {reason}", code="csrf_failed")


def sessions_expire() -> int:
    """Forget sessions past their time. Called by the tick."""
    from django.contrib.sessions.models import Session
    from django.utils import timezone

    return Session.objects.filter(expire_date__lt=timezone.now()).delete()[0]


def _cookie_name(request: HttpRequest) -> str:
    """With the port: cookies are shared by all ports of a host, and several servers may run on one machine."""
    port = request.get_host().rpartition(":")[2]
    return f"fettle_session_{port}" if port.isdigit() else "fettle_session"
