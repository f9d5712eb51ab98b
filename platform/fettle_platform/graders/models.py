"""Stored graders. A version never changes: a job that names one can be read, and run again, for ever."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from fettle_platform.accounts.scoping import ProjectScoped
from fettle_platform.core.ids import public_id_field


class StoredGrader(ProjectScoped):
    """A name for a line of versions. Deleting hides it; its versions stay for the jobs that name them."""

    public_id = public_id_field("grader-")
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["project", "-created_at", "-id"], name="grader_page")]

    def __str__(self) -> str:
        return f"{self.public_id} ({self.name})"


class GraderVersion(ProjectScoped):
    """One definition as `parse_grader` reads it, secrets included. `number` counts from 1 in each grader."""

    public_id = public_id_field("gradr-")
    grader = models.ForeignKey(StoredGrader, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    spec = models.JSONField()
    note = models.CharField(max_length=1000, default="", blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["grader", "number"], name="grader_version_number")]

    def __str__(self) -> str:
        return f"{self.public_id} (version {self.number})"
