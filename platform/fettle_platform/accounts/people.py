"""People: how they sign in, and which of them belong to an organization."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from datetime import timedelta

from django.contrib.auth import authenticate
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from fettle_platform.accounts.models import Member, Organization, SignInLink, User
from fettle_platform.core.errors import InvalidRequest, RateLimited, Unauthorized

LINK_LIFETIME = timedelta(days=1)
_MAX_FAILURES = 10
_FAILURE_WINDOW_S = 300.0


def sign_in_link_create(*, user: User, lifetime: timedelta = LINK_LIFETIME) -> str:
    """The secret of a link, which is not kept. The page reads it from behind the `#`, so it enters no server log."""
    secret = secrets.token_urlsafe(32)
    SignInLink.objects.filter(user=user, expires_at__lt=timezone.now()).delete()
    SignInLink.objects.create(user=user, digest=_digest(secret), expires_at=timezone.now() + lifetime)
    return secret


def sign_in_with_link(*, secret: str) -> User:
    """Raises Unauthorized: the link is unknown, too old, or was used before."""
    now = timezone.now()
    links = SignInLink.objects.filter(digest=_digest(secret))
    if not links.filter(used_at=None, expires_at__gt=now, user__is_active=True).update(used_at=now):
        raise Unauthorized(
            "This sign-in link was used before or is too old. `fettle sign-in` on the server's machine prints another.",
            code="invalid_sign_in_link",
        )
    return links.select_related("user").get().user


def sign_in_with_password(*, email: str, password: str) -> User:
    """Raises Unauthorized, which does not say whether there is such a person; RateLimited after ten failures."""
    _failures.require_below_limit(email)
    user = authenticate(username=email, password=password)
    if not isinstance(user, User):
        _failures.add(email)
        raise Unauthorized("No person with this email address has this password.", code="invalid_credentials")
    return user


def password_set(*, user: User, password: str) -> None:
    """Ends every session of that person. Raises InvalidRequest: the password is too easy to guess."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InvalidRequest(" ".join(error.messages), param="password") from None
    user.set_password(password)
    user.save(update_fields=["password"])


def member_add(*, organization: Organization, email: str, role: str) -> Member:
    """Make a person a member; a new address becomes a new person, who has no password yet.

    Raises:
        InvalidRequest: they are a member already.
    """
    email = User.objects.normalize_email(email)
    with transaction.atomic():
        user, is_new = User.objects.get_or_create(email=email)
        if is_new:
            user.set_unusable_password()
            user.save(update_fields=["password"])
        member, is_added = Member.objects.get_or_create(
            user=user, organization=organization, defaults={"role": Member.Role(role)}
        )
    if not is_added:
        raise InvalidRequest(f"{email} is a member of {organization.name} already", param="email")
    return member


def member_change_role(*, member: Member, role: str) -> None:
    with transaction.atomic():
        if role != Member.Role.OWNER:
            _require_other_owner(member)
        Member.objects.filter(pk=member.pk).update(role=Member.Role(role))


def member_remove(*, member: Member) -> None:
    """From the next request on they see nothing of the organization."""
    with transaction.atomic():
        _require_other_owner(member)
        member.delete()


def _require_other_owner(member: Member) -> None:
    owners = Member.objects.select_for_update().filter(organization=member.organization, role=Member.Role.OWNER)
    if not [owner for owner in owners if owner.pk != member.pk]:
        raise InvalidRequest(
            f"{member.user.email} is the only owner; make somebody else an owner first", code="invalid_state"
        )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class _Failures:
    """Wrong passwords of the last five minutes, by address. Held in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, list[float]] = {}

    def require_below_limit(self, email: str) -> None:
        with self._lock:
            recent = self._recent(email)
            if len(recent) >= _MAX_FAILURES:
                wait_s = recent[0] + _FAILURE_WINDOW_S - time.monotonic()
                raise RateLimited(
                    "Too many wrong passwords for this address; wait a few minutes.", retry_after_s=wait_s
                )

    def add(self, email: str) -> None:
        with self._lock:
            if len(self._times) > 10_000:
                self._times = {name: recent for name in self._times if (recent := self._recent(name))}
            self._times[email.lower()] = [*self._recent(email), time.monotonic()]

    def _recent(self, email: str) -> list[float]:
        since = time.monotonic() - _FAILURE_WINDOW_S
        return [moment for moment in self._times.get(email.lower(), []) if moment > since]


_failures = _Failures()
