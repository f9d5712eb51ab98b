"""Writes what can be served. Which checkpoints deserve a name is decided in jobs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from fettle_platform.accounts.models import Project
from fettle_platform.accounts.scoping import Scope
from fettle_platform.core.errors import Forbidden, NotFound
from fettle_platform.core.ids import random_base62
from fettle_platform.registry import selectors
from fettle_platform.registry.catalogue import catalogue
from fettle_platform.registry.models import Adapter, Model, Permission


def new_model_name(*, base_model: str, organization: str, suffix: str | None) -> str:
    """`ft:<base>:<organization>:<suffix>:<8 random characters>`; without a suffix its place stays empty.

    The suffix is the user's free text: what is not a letter, a digit, '.', '_' or '-' becomes '-'.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", suffix or "")
    return f"ft:{base_model}:{organization}:{safe}:{random_base62(8)}"


def checkpoint_name(model_name: str, step: int) -> str:
    return f"{model_name}:ckpt-step-{step}"


def adapter_note(*, digest: str, base_model: str, files: dict[str, Any], now: datetime) -> None:
    """Record that the files of this adapter are in the store and in use; again is fine.

    Args:
        files: name -> {size_bytes, sha256} of the PEFT folder's files.
    """
    Adapter.objects.update_or_create(
        digest=digest, defaults={"base_model": base_model, "files": files, "last_used_at": now}
    )


def model_register(
    *,
    project: Project,
    public_id: str,
    base_model: str,
    adapter_digest: str,
    job_id: str,
    step: int,
    is_checkpoint: bool,
    parent: str,
    details: dict[str, Any],
    now: datetime,
) -> None:
    """Make a name servable; again with the same name replaces what it stands for, as a redone step does."""
    values = {
        "base_model": base_model,
        "adapter_digest": adapter_digest,
        "job_id": job_id,
        "step": step,
        "is_checkpoint": is_checkpoint,
        "parent": parent,
        "details": details,
    }
    Model.objects.update_or_create(
        public_id=public_id, defaults=values, create_defaults=values | {"project": project, "created_at": now}
    )


def model_unregister(*, public_ids: list[str]) -> None:
    Model.objects.filter(public_id__in=public_ids).delete()


def model_delete(*, scope: Scope, public_id: str) -> None:
    """Take a fine-tuned model or checkpoint out of service. Its adapter is collected later if nothing names it.

    Raises:
        NotFound: no such model for this project.
        Forbidden: a base model, which belongs to the operator.
    """
    if public_id in catalogue():
        raise Forbidden(f"`{public_id}` is a base model; only fine-tuned models can be deleted.", param="model")
    selectors.model_get(scope, public_id).delete()


@transaction.atomic
def permissions_grant(*, scope: Scope, public_id: str, project_ids: Sequence[str], now: datetime) -> list[Permission]:
    """Let other projects of the organization ask a model; all of them or none. Again gives the permissions there are.

    Raises:
        NotFound: no such model of this project, or no such project in this organization.
    """
    model = selectors.model_get(scope, public_id)
    wanted = list(dict.fromkeys(project_ids))
    found = {row.public_id: row for row in scope.organization.projects.filter(public_id__in=wanted)}
    for place, project_id in enumerate(project_ids):
        if project_id not in found:
            raise NotFound(f"No such project in this organization: {project_id}", param=f"project_ids.{place}")
    Permission.objects.bulk_create(
        [Permission(model=model, project=found[project_id], created_at=now) for project_id in wanted],
        ignore_conflicts=True,
    )
    granted = model.permissions.select_related("project").filter(project__public_id__in=wanted)
    return sorted(granted, key=lambda permission: wanted.index(permission.project.public_id))


def permission_delete(*, scope: Scope, public_id: str, permission_id: str) -> None:
    """Works from the next request on.

    Raises:
        NotFound: no such model of this project, or no such permission of this model.
    """
    deleted, _ = selectors.permission_list(scope, public_id).filter(public_id=permission_id).delete()
    if not deleted:
        raise NotFound(f"No such permission: {permission_id[:100]}", param="permission_id")
