"""Storing graders, adding versions, and putting a stored one where a request names it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F

from fettle_graders.spec import GraderSpec
from fettle_platform.accounts.scoping import Scope, ScopedQuerySet
from fettle_platform.core.errors import InvalidRequest
from fettle_platform.graders.models import GraderVersion, StoredGrader
from fettle_platform.graders.services import grader_parse

GRADER_PREFIX, VERSION_PREFIX = "grader-", "gradr-"
_GRADER_PATH = ("method", "reinforcement", "grader")


def grader_list(scope: Scope) -> ScopedQuerySet[StoredGrader]:
    """Those that are not deleted."""
    return StoredGrader.objects.for_project(scope).filter(deleted_at=None)


def grader_get(scope: Scope, grader_id: str, *, param: str | None = None) -> StoredGrader:
    """Raises NotFound, also for a deleted one and for another project's."""
    return grader_list(scope).fetch(grader_id, kind="grader", param=param)


def version_get(scope: Scope, version_id: str, *, param: str | None = None) -> GraderVersion:
    """Also of a deleted grader: jobs name it. Raises NotFound."""
    versions = GraderVersion.objects.for_project(scope).select_related("grader")
    return versions.fetch(version_id, kind="grader version", param=param)


def version_of(grader: StoredGrader, name: str) -> GraderVersion:
    """By number or id. Raises NotFound."""
    versions = GraderVersion.objects.filter(grader=grader).select_related("grader")
    if name.isascii() and name.isdigit() and len(name) < 10:
        found = versions.filter(number=int(name)).first()
        if found is not None:
            return found
    return versions.fetch(name, kind="grader version")


def newest_version(grader: StoredGrader) -> GraderVersion:
    return GraderVersion.objects.filter(grader=grader).select_related("grader").order_by("-number")[0]


@transaction.atomic
def grader_store(*, scope: Scope, name: str, spec: GraderSpec, note: str, now: datetime) -> StoredGrader:
    """A new grader with its first version."""
    grader = StoredGrader.objects.create(project=scope.project, name=name, created_at=now)
    GraderVersion.objects.create(
        project=scope.project, grader=grader, number=1, spec=_content(spec), note=note, created_at=now
    )
    return grader


@transaction.atomic
def version_add(*, grader: StoredGrader, spec: GraderSpec, note: str, now: datetime) -> GraderVersion:
    """The next version; the newest one itself when the definition is the same."""
    StoredGrader.objects.filter(pk=grader.pk).update(name=F("name"))  # two at once take numbers one after the other
    newest = newest_version(grader)
    if newest.spec == _content(spec):
        return newest
    return GraderVersion.objects.create(
        project_id=grader.project_id,
        grader=grader,
        number=newest.number + 1,
        spec=_content(spec),
        note=note,
        created_at=now,
    )


def grader_delete(*, grader: StoredGrader, now: datetime) -> None:
    """Hide it. Jobs keep the definition they were made with, and the version they name can still be read."""
    StoredGrader.objects.filter(pk=grader.pk).update(deleted_at=now)


def grader_resolve(scope: Scope, data: Any, *, param: str) -> tuple[GraderSpec, GraderVersion | None]:
    """A grader of a request: a definition, the id of a stored version, or the id of a grader for its newest version.

    Raises:
        InvalidRequest: `invalid_grader`, it is none of these.
        NotFound: this project has no such grader.
    """
    if not isinstance(data, str):
        return grader_parse(data=data, param=param), None
    version = _named(scope, data, param)
    return spec_of(version), version


def spec_of(version: GraderVersion) -> GraderSpec:
    return grader_parse(data=version.spec, param="grader")


def with_stored_grader(scope: Scope, body: Any) -> tuple[Any, str | None]:
    """The body of a job with the definition in the place of a stored grader's id, and the version's id.

    Raises:
        InvalidRequest, NotFound: as `grader_resolve`.
    """
    method, reinforcement, grader = _GRADER_PATH
    inner = body.get(method) if isinstance(body, Mapping) else None
    settings = inner.get(reinforcement) if isinstance(inner, Mapping) else None
    named = settings.get(grader) if isinstance(settings, Mapping) else None
    if not isinstance(named, str):
        return body, None
    version = _named(scope, named, ".".join(_GRADER_PATH))
    return {**body, method: {**inner, reinforcement: {**settings, grader: version.spec}}}, version.public_id


def changes(old: Any, new: Any, path: str = "") -> Iterator[dict[str, Any]]:
    """What differs between two definitions, field by field: `{path, from, to}`; what is not there is null."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from changes(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
    elif old != new:
        yield {"path": path, "from": old, "to": new}


def _named(scope: Scope, name: str, param: str) -> GraderVersion:
    if name.startswith(VERSION_PREFIX):
        return version_get(scope, name, param=param)
    if name.startswith(GRADER_PREFIX):
        return newest_version(grader_get(scope, name, param=param))
    raise InvalidRequest(
        f"{param}: {name[:80]!r} is neither a definition (an object) nor the id of a stored grader (`grader-...`) or "
        "of one of its versions (`gradr-...`)",
        param=param,
        code="invalid_grader",
    )


def _content(spec: GraderSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", exclude_none=True)
