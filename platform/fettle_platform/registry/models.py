"""What can be served, and the adapters behind it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from fettle_platform.accounts.models import Project
from fettle_platform.accounts.scoping import ProjectScoped
from fettle_platform.core.ids import public_id_field


class Adapter(models.Model):
    """Files below `adapters/<digest>/` in the store; content-addressed, so several models may share one."""

    digest = models.CharField(max_length=64, unique=True)
    base_model = models.CharField(max_length=200)
    files = models.JSONField()  # name -> {size_bytes, sha256}
    last_used_at = models.DateTimeField()  # last named by a commit; what is fresh is never collected


class Model(ProjectScoped):
    """A public name for a base model with an adapter. A checkpoint is servable but not listed."""

    public_id = models.CharField(max_length=440, unique=True)
    created_at = models.DateTimeField()
    base_model = models.CharField(max_length=200)
    adapter_digest = models.CharField(max_length=64)
    job_id = models.CharField(max_length=64)
    step = models.PositiveIntegerField()
    is_checkpoint = models.BooleanField()
    parent = models.CharField(max_length=440, default="", blank=True)  # the model it was trained from
    details = models.JSONField(default=dict)  # scores, and for a finished job its selection

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["project", "is_checkpoint", "-created_at"], name="model_list"),
            models.Index(fields=["adapter_digest"], name="model_adapter"),
            models.Index(fields=["job_id"], name="model_job"),
        ]


class Permission(models.Model):
    """Another project of the same organization may ask this model. It goes with the model."""

    public_id = public_id_field("cp_")
    created_at = models.DateTimeField()
    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="permissions")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")  # who may

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["model", "project"], name="permission_once")]
