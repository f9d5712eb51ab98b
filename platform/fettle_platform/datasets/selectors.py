"""Reads of files and uploads, always within one project."""

from __future__ import annotations

from django.db.models import Q
from django.utils import timezone

from fettle_platform.accounts.scoping import Scope, ScopedQuerySet
from fettle_platform.datasets.models import File, Upload


def file_list(scope: Scope, *, purpose: str | None = None) -> ScopedQuerySet[File]:
    """Files that have not expired, all of them or those of one purpose."""
    alive = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    files = File.objects.for_project(scope).filter(alive).defer("report")
    return files.filter(purpose=purpose) if purpose else files


def file_get(scope: Scope, file_id: str) -> File:
    """Raises NotFound for a file that is not there, has expired, or is another project's."""
    return file_list(scope).fetch(file_id, kind="File object", param="id")


def upload_get(scope: Scope, upload_id: str) -> Upload:
    """Raises NotFound."""
    return Upload.objects.for_project(scope).select_related("file").fetch(upload_id, kind="Upload", param="upload_id")
