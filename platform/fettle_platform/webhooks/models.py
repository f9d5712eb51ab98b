"""Where events are sent, and the sendings: a delivery is a row before it is a request, so none is lost."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone

from fettle_platform.accounts.scoping import ProjectScoped
from fettle_platform.core.ids import public_id_field


class EventType(models.TextChoices):
    """The types of the OpenAI wire that happen here."""

    JOB_SUCCEEDED = "fine_tuning.job.succeeded"
    JOB_FAILED = "fine_tuning.job.failed"
    JOB_CANCELLED = "fine_tuning.job.cancelled"


class WebhookEndpoint(ProjectScoped):
    """An address and what it wants to hear.

    The signing secret is derived from the server's key, the public id and `secret_version`, and stored nowhere.
    """

    public_id = public_id_field("whe_")
    name = models.CharField(max_length=200)
    url = models.CharField(max_length=2000)
    event_types = models.JSONField()
    secret_version = models.PositiveIntegerField(default=1)
    previous_secret_until = models.DateTimeField(
        null=True, blank=True, help_text="until then deliveries are signed with the secret before, too"
    )
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    disabled_at = models.DateTimeField(null=True, blank=True, help_text="days of failures; an update enables it again")


class WebhookDelivery(models.Model):
    """One event on its way to one endpoint. `next_attempt_at` is null when it arrived or was given up."""

    event_id = public_id_field("evt_")
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries")
    event_type = models.CharField(max_length=64)
    object_id = models.CharField(max_length=128, help_text="public id of what the event is about")
    created_at = models.DateTimeField(default=timezone.now)
    num_attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    last_status = models.PositiveIntegerField(null=True, blank=True, help_text="HTTP status of the last attempt")
    last_error = models.TextField(blank=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["next_attempt_at"], name="webhooks_delivery_due")]
