"""The scope of a request, and the manager through which every query passes.

Usage in a model:  `class Job(ProjectScoped): ...`, which brings `project` and `objects`.
Usage in a selector:  `Job.objects.for_project(scope)`, and `.fetch(public_id, kind="fine-tuning job")` for one row,
which raises `NotFound` for another project's object exactly as for one that never was. `request.auth` is the `Scope`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from django.db import models

from fettle_platform.accounts.models import ApiKey, Member, Organization, Project, User
from fettle_platform.core.errors import NotFound

M = TypeVar("M", bound=models.Model)


@dataclass(frozen=True)
class Scope:
    """What a request may see and touch, and who asks: a program with a key, or a person with a session."""

    organization: Organization
    project: Project
    api_key: ApiKey | None = None
    user: User | None = None
    role: Member.Role | None = None

    @property
    def caller_id(self) -> str:
        """Public id of the key or the person, else of the project."""
        return (self.api_key or self.user or self.project).public_id


class ScopedQuerySet(models.QuerySet[M]):
    def for_project(self, scope: Scope) -> ScopedQuerySet[M]:
        return self.filter(project_id=scope.project.pk)

    def fetch(self, public_id: str, *, kind: str = "object", param: str | None = None, code: str = "not_found") -> M:
        """The row of that public id in what this queryset is limited to.

        Raises:
            NotFound: there is none, or it is another project's.
        """
        row = self.filter(public_id=public_id).first()
        if row is None:
            raise NotFound(f"No such {kind}: {public_id[:100]}", param=param, code=code)
        return row


class ProjectScoped(models.Model):
    """Base of every row that belongs to a project. The model itself brings `public_id`."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")

    objects = ScopedQuerySet.as_manager()

    class Meta:
        abstract = True
