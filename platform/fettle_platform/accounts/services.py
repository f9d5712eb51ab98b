"""Makes organizations, projects and keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from fettle_platform.accounts import keys
from fettle_platform.accounts.models import ApiKey, Member, Organization, Project, User
from fettle_platform.core.errors import InvalidRequest

DEFAULT_ORGANIZATION = "fettle"
DEFAULT_PROJECT = "default"
DEFAULT_OWNER = "owner@localhost"


@dataclass(frozen=True)
class Bootstrap:
    """`api_key` is the plain key when this call made it, else None: it cannot be shown again."""

    organization: Organization
    project: Project
    api_key: str | None


def bootstrap() -> Bootstrap:
    """Make the first organization, project and key, each once; safe to call at every start and by several
    processes.

    With FETTLE_BOOTSTRAP_API_KEY that key works afterwards, also when others exist; without it a key is made when the
    project has none.
    """
    with transaction.atomic():
        organization = first_organization()
        project, _ = Project.objects.get_or_create(organization=organization, name=DEFAULT_PROJECT)
        # The project's row is locked, so of two processes that start together only one makes the key.
        Project.objects.select_for_update().get(pk=project.pk)
        given = settings.FETTLE.bootstrap_api_key
        if given is not None:
            plain = given.get_secret_value()
            is_new = not ApiKey.objects.filter(digest=keys.digest_of(plain)).exists()
        else:
            plain = keys.new_key()
            is_new = not project.api_keys.exists()
        if is_new:
            _insert(project, plain, name="bootstrap", expires_at=None)
    return Bootstrap(organization, project, plain if is_new else None)


def first_organization() -> Organization:
    return Organization.objects.get_or_create(name=DEFAULT_ORGANIZATION)[0]


def first_owner() -> User:
    """The account behind the address that `fettle up` prints. It has no password: only sign-in links open it."""
    with transaction.atomic():
        owner, is_new = User.objects.get_or_create(email=DEFAULT_OWNER, defaults={"name": "Owner"})
        if is_new:
            owner.set_unusable_password()
            owner.save(update_fields=["password"])
            Member.objects.create(user=owner, organization=first_organization(), role=Member.Role.OWNER)
    return owner


def api_key_create(*, project: Project, name: str, expires_at: datetime | None = None) -> tuple[ApiKey, str]:
    """The row and the plain key, which is not kept and cannot be shown again."""
    plain = keys.new_key()
    return _insert(project, plain, name=name, expires_at=expires_at), plain


def api_key_revoke(*, api_key: ApiKey) -> None:
    """Works from the next request on. Revoking twice keeps the first time."""
    ApiKey.objects.filter(pk=api_key.pk, revoked_at=None).update(revoked_at=timezone.now())


def _insert(project: Project, plain: str, *, name: str, expires_at: datetime | None) -> ApiKey:
    return ApiKey.objects.create(
        project=project, name=name, prefix=keys.prefix_of(plain), digest=keys.digest_of(plain), expires_at=expires_at
    )


def project_create(organization: Organization, *, name: str) -> Project:
    """Raises InvalidRequest: the organization has one of that name."""
    return _named_once(Project(organization=organization), name)


def project_rename(project: Project, *, name: str) -> Project:
    """Raises InvalidRequest: another one has that name."""
    return _named_once(project, name)


def _named_once(project: Project, name: str) -> Project:
    project.name = name
    try:
        with transaction.atomic():
            project.save()
    except IntegrityError:
        raise InvalidRequest(f"There is a project {name!r} already; choose another name.", param="name") from None
    return project
