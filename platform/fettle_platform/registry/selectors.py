"""Which models a project may see, and what each name stands for."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import QuerySet

from fettle_platform.accounts.scoping import Scope, ScopedQuerySet
from fettle_platform.core.errors import NotFound
from fettle_platform.registry.catalogue import catalogue
from fettle_platform.registry.models import Adapter, Model, Permission


@dataclass(frozen=True)
class Served:
    """What a public model name stands for. `adapter_digest` is None for a base model."""

    public_id: str
    base_model: str
    adapter_digest: str | None

    @property
    def upstream_name(self) -> str:
        """The name by which the model server knows it; a name never changes its meaning."""
        return self.base_model if self.adapter_digest is None else f"ft-{self.adapter_digest}"


def served_model(scope: Scope, public_id: str, *, shared: bool = False) -> Served:
    """Resolve a base id, a fine-tuned id or a checkpoint's id; with `shared` also one the project has permission for.

    Raises:
        NotFound: no such model for this project; the message lists some that are.
    """
    if public_id in catalogue():
        return Served(public_id, public_id, None)
    row = model_list(scope, checkpoints=True).filter(public_id=public_id).first()
    if row is None and shared:
        row = Model.objects.filter(public_id=public_id, permissions__project=scope.project).first()
    if row is None:
        raise model_not_found(scope, public_id)
    return Served(public_id, row.base_model, row.adapter_digest)


def model_not_found(scope: Scope, public_id: str) -> NotFound:
    names = [*catalogue(), *model_list(scope).order_by("-created_at").values_list("public_id", flat=True)[:5]]
    message = f"The model `{public_id[:100]}` does not exist or you do not have access to it. Available: "
    return NotFound(message + ", ".join(f"`{name}`" for name in names) + ".", param="model", code="model_not_found")


def model_list(scope: Scope, *, checkpoints: bool = False) -> ScopedQuerySet[Model]:
    """The fine-tuned models; with `checkpoints` also the names of checkpoints, which are served but not listed."""
    rows = Model.objects.for_project(scope)
    return rows if checkpoints else rows.filter(is_checkpoint=False)


def model_get(scope: Scope, public_id: str) -> Model:
    row = model_list(scope, checkpoints=True).filter(public_id=public_id).first()
    if row is None:
        raise model_not_found(scope, public_id)
    return row


def permission_list(scope: Scope, public_id: str, *, project_id: str | None = None) -> QuerySet[Permission]:
    """Who else may ask a model of this project; with `project_id` only that project's permission.

    Raises:
        NotFound: no such model of this project; a project that may ask it does not see who else may.
    """
    permissions = model_get(scope, public_id).permissions.select_related("project")
    return permissions if project_id is None else permissions.filter(project__public_id=project_id)


def adapter_find(digest: str) -> Adapter | None:
    return Adapter.objects.filter(digest=digest).first()
