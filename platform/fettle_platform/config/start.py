"""What every server process does before it serves."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator


class CannotStart(Exception):
    """The operator must act; the message says what to do."""


def migrate() -> None:
    """Bring the database to this version. Of several processes that start together one works, the others wait."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import OperationalError, connection

    try:
        with _one_at_a_time(connection):
            call_command("migrate", interactive=False, verbosity=0)
    except OperationalError as error:
        raise CannotStart(f"the database cannot be reached: {error}; check FETTLE_DATABASE_URL") from error


@contextmanager
def _one_at_a_time(connection: object) -> Iterator[None]:
    from django.conf import settings

    if connection.vendor != "postgresql":  # type: ignore[attr-defined]
        with hold_lock(settings.FETTLE.data_dir / "migrate.lock", wait=True):
            yield
        return
    with connection.cursor() as cursor:  # type: ignore[attr-defined]
        cursor.execute("SELECT pg_advisory_lock(hashtext('fettle migrate'))")
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(hashtext('fettle migrate'))")


@contextmanager
def hold_lock(path: Path, *, wait: bool = False) -> Iterator[None]:
    """An exclusive lock that the system lets go when the process ends, however it ends.

    Raises:
        BlockingIOError: another process holds it and `wait` is off.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises CannotStart when the port is taken or the address is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {host}:{port}: {error.strerror or error}; --port chooses another, 0 a free one"
        ) from error


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{reachable}:{port}"


def announce_key() -> None:
    """Make the first organization, project and key; print the key the one time it can be shown."""
    from django.conf import settings

    from fettle_platform.accounts.services import bootstrap

    made = bootstrap()
    if made.api_key is not None and settings.FETTLE.bootstrap_api_key is None:
        print(f"Your API key, shown this once:\n\n    export FETTLE_API_KEY={made.api_key}\n", flush=True)


def sign_in_address(url: str, email: str | None = None) -> str:
    """Where a browser is signed in, once, as that person or as the first owner.

    Raises:
        CannotStart: there is no such person.
    """
    from fettle_platform.accounts.models import User
    from fettle_platform.accounts.people import sign_in_link_create
    from fettle_platform.accounts.services import first_owner

    user = first_owner() if email is None else User.objects.filter(email=email).first()
    if user is None:
        raise CannotStart(f"nobody has the address {email}; `fettle users add {email}` makes them a member")
    return f"{url}/sign-in#{sign_in_link_create(user=user)}"


def user_add(email: str, *, is_owner: bool) -> None:
    """Raises CannotStart: they are a member already."""
    from fettle_platform.accounts.models import Member
    from fettle_platform.accounts.people import member_add
    from fettle_platform.accounts.services import first_organization
    from fettle_platform.core.errors import InvalidRequest

    role = Member.Role.OWNER if is_owner else Member.Role.MEMBER
    try:
        member_add(organization=first_organization(), email=email, role=role)
    except InvalidRequest as error:
        raise CannotStart(f"{error.message}; `fettle sign-in {email}` prints a link") from error


def fail(error: CannotStart) -> NoReturn:
    print(f"Fettle cannot start: {error}", file=sys.stderr)
    raise SystemExit(2)
