"""Files, and uploads in parts that become files."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone

from fettle_platform.accounts.scoping import ProjectScoped
from fettle_platform.core.ids import public_id_field


class Purpose(models.TextChoices):
    ASSISTANTS = "assistants"
    BATCH = "batch"
    FINE_TUNE = "fine-tune"
    VISION = "vision"
    USER_DATA = "user_data"
    EVALS = "evals"
    # Made by the server only.
    FINE_TUNE_RESULTS = "fine-tune-results"


UPLOAD_PURPOSES = [purpose.value for purpose in Purpose if purpose is not Purpose.FINE_TUNE_RESULTS]


class File(ProjectScoped):
    """A file whose bytes lie in the store under `store_key`; they never change."""

    class Status(models.TextChoices):
        PROCESSED = "processed"
        ERROR = "error"

    public_id = public_id_field("file-")
    filename = models.CharField(max_length=255)
    purpose = models.CharField(max_length=32, choices=Purpose.choices)
    size_bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PROCESSED)
    status_details = models.TextField(blank=True)
    report = models.JSONField(null=True, help_text="RowReport of a fine-tune file as JSON, else null")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, db_index=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["project", "-created_at", "-id"], name="datasets_file_list")]

    @property
    def store_key(self) -> str:
        return f"files/{self.public_id}"


class Upload(ProjectScoped):
    """A file that arrives in parts. A pending upload past `expires_at` is expired, also before the tick writes it."""

    class Status(models.TextChoices):
        PENDING = "pending"
        COMPLETED = "completed"
        CANCELLED = "cancelled"
        EXPIRED = "expired"

    public_id = public_id_field("upload_")
    filename = models.CharField(max_length=255)
    purpose = models.CharField(max_length=32, choices=Purpose.choices)
    mime_type = models.CharField(max_length=255)
    size_bytes = models.BigIntegerField(help_text="as declared; the parts must add up to it")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    file = models.OneToOneField(File, null=True, on_delete=models.SET_NULL, related_name="+")
    file_expires_after_s = models.PositiveIntegerField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(db_index=True)

    @property
    def current_status(self) -> str:
        is_late = self.status == self.Status.PENDING and self.expires_at <= timezone.now()
        return self.Status.EXPIRED.value if is_late else self.status


class UploadPart(models.Model):
    public_id = public_id_field("part_")
    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="parts")
    size_bytes = models.BigIntegerField()
    created_at = models.DateTimeField(default=timezone.now)

    @property
    def store_key(self) -> str:
        return f"uploads/{self.upload.public_id}/{self.public_id}"
