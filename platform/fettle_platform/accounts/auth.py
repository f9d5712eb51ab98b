"""From the Authorization header, or a browser's session, to a `Scope`, which views find as `request.auth`."""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from fettle_platform.accounts import keys
from fettle_platform.accounts.models import ApiKey, Member, Project, User
from fettle_platform.accounts.scoping import Scope
from fettle_platform.accounts.sessions import csrf_require, session_user
from fettle_platform.core.errors import Forbidden, Unauthorized

_LAST_USED_STEP = timedelta(minutes=10)
_MAX_KEY_LENGTH = 256
_NO_KEY = "You didn't provide an API key. Send it as 'Authorization: Bearer fk_...'."


class KeyOrSession(BaseAuthentication):
    """A key if one is sent; otherwise the session of a browser, which must also pass the CSRF check."""

    def authenticate(self, request: Request | HttpRequest) -> tuple[None, Scope]:
        if "Authorization" not in request.headers:
            plain = request._request if isinstance(request, Request) else request
            scope = scope_of_session(plain)
            if scope is None:
                raise Unauthorized(_NO_KEY)
            csrf_require(plain)
            return None, scope
        scope = scope_of_key(_bearer(request))
        _check_named(request, scope)
        return None, scope

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class HasScope(BasePermission):
    """A request that was authenticated. Views that need none set `permission_classes = ()`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.auth, Scope)


def scope_of_key(key: str) -> Scope:
    """Raises Unauthorized for a key that is unknown, expired or revoked; the caller does not learn which."""
    now = timezone.now()
    row = _find(key)
    if row is None or row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now):
        raise Unauthorized(f"Incorrect API key provided: {_masked(key)}. Keys are made by the operator of this server.")
    _touch(row, now)
    return Scope(row.project.organization, row.project, row)


def scope_of_session(request: HttpRequest) -> Scope | None:
    """What the signed-in person may see: the project that `OpenAI-Project` names, else the first of theirs.

    Raises:
        Forbidden: they belong to no organization, or not to that of the named project.
    """
    user = session_user(request)
    return None if user is None else scope_of_user(user, request.headers.get("OpenAI-Project", ""))


def scope_of_user(user: User, project_id: str = "") -> Scope:
    memberships = Member.objects.filter(user=user)
    theirs = Project.objects.filter(organization__in=memberships.values("organization")).select_related("organization")
    project = (theirs.filter(public_id=project_id) if project_id else theirs.order_by("pk")).first()
    if project is None:
        raise Forbidden(
            f"{user.email} has no project{f' {project_id[:64]}' if project_id else ''}; an owner of the organization "
            "adds members"
        )
    member = memberships.get(organization=project.organization)
    return Scope(project.organization, project, user=user, role=Member.Role(member.role))


def visible_projects(scope: Scope) -> frozenset[int]:
    """Primary keys of all the projects that whoever asks may see: a person those of their organizations."""
    if scope.user is None:
        return frozenset({scope.project.pk})
    organizations = Member.objects.filter(user=scope.user).values("organization")
    return frozenset(Project.objects.filter(organization__in=organizations).values_list("pk", flat=True))


def _bearer(request: Request | HttpRequest) -> str:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    key = key.strip()
    if not scheme:
        raise Unauthorized(_NO_KEY)
    if scheme.lower() != "bearer" or not key:
        raise Unauthorized("The Authorization header must read 'Bearer fk_...'")
    return key


def _find(key: str) -> ApiKey | None:
    # WSGI and ASGI hand headers over as Latin-1 text; null characters would make the database complain.
    if not (key.startswith("fk_") and len(key) <= _MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        return None
    digest = keys.digest_of(key)
    candidates = ApiKey.objects.select_related("project__organization").filter(prefix=keys.prefix_of(key))
    return next((row for row in candidates if hmac.compare_digest(row.digest, digest)), None)


def _touch(row: ApiKey, now: datetime) -> None:
    before = now - _LAST_USED_STEP
    if row.last_used_at is None or row.last_used_at < before:
        unused = Q(last_used_at=None) | Q(last_used_at__lt=before)
        ApiKey.objects.filter(unused, pk=row.pk).update(last_used_at=now)


def _check_named(request: Request | HttpRequest, scope: Scope) -> None:
    """The client names organization and project when it is configured to; they must be the key's own."""
    named = request.headers.get("OpenAI-Organization", "")
    if named and named not in (scope.organization.public_id, scope.organization.name):
        raise Unauthorized(
            "OpenAI-Organization header should match organization for API key", code="mismatched_organization"
        )
    named = request.headers.get("OpenAI-Project", "")
    if named and named != scope.project.public_id:
        raise Unauthorized("OpenAI-Project header should match project for API key", code="mismatched_project")


def _masked(key: str) -> str:
    return f"{key[:6]}...{key[-2:]}" if len(key) >= 24 else "***"
