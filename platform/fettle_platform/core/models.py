"""Answers already given, so that a repeated request gets the same one instead of a second effect."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone


class GivenAnswer(models.Model):
    """One POST and, once it is done, its answer. `status` is None while the request is being worked on."""

    owner = models.CharField(max_length=64, help_text="public id of the project or key that asked")
    route = models.CharField(max_length=500)
    key = models.CharField(max_length=255, help_text="the Idempotency-Key, or `body:` and the digest of the body")
    body_sha256 = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    body = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["owner", "route", "key"], name="core_one_answer_per_key")
        ]
