"""Writes of endpoints and events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from fettle_platform.accounts.models import Project
from fettle_platform.core.errors import InvalidRequest
from fettle_platform.webhooks.models import WebhookDelivery, WebhookEndpoint

MAX_ENDPOINTS = 20
OLD_SECRET_KEPT = timedelta(days=1)


def endpoint_create(
    *, project: Project, name: str, url: str, event_types: Sequence[str], now: datetime
) -> WebhookEndpoint:
    """Raises InvalidRequest when the project has as many endpoints as it may."""
    if WebhookEndpoint.objects.filter(project=project).count() >= MAX_ENDPOINTS:
        raise InvalidRequest(f"A project has at most {MAX_ENDPOINTS} webhook endpoints; delete one first")
    return WebhookEndpoint.objects.create(
        project=project, name=name, url=url, event_types=list(event_types), created_at=now, updated_at=now
    )


def endpoint_update(*, endpoint: WebhookEndpoint, values: dict[str, object], now: datetime) -> None:
    """Set what is given. A change, even to the same value, enables an endpoint, unless it says `disabled`."""
    disabled = values.get("disabled", False)
    given = {name: value for name, value in values.items() if name != "disabled"}
    changed = {name: value for name, value in given.items() if getattr(endpoint, name) != value}
    if values and bool(disabled) != (endpoint.disabled_at is not None):
        changed["disabled_at"] = now if disabled else None
    for name, value in changed.items():
        setattr(endpoint, name, value)
    if changed:
        endpoint.updated_at = now
        endpoint.save(update_fields=[*changed, "updated_at"])


def secret_rotate(*, endpoint: WebhookEndpoint, keep_old: bool, now: datetime) -> None:
    """Make a new secret. The old one signs beside it for a day, if asked for, so that receivers can be changed."""
    endpoint.secret_version += 1
    endpoint.previous_secret_until = now + OLD_SECRET_KEPT if keep_old else None
    endpoint.updated_at = now
    endpoint.save(update_fields=["secret_version", "previous_secret_until", "updated_at"])


def event_record(*, project_id: int, event_type: str, object_id: str, now: datetime) -> None:
    """Note what happened for every endpoint that wants to hear it, inside the transaction in which it happens."""
    endpoints = WebhookEndpoint.objects.filter(project_id=project_id, disabled_at=None)
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(
            endpoint=endpoint, event_type=event_type, object_id=object_id, created_at=now, next_attempt_at=now
        )
        for endpoint in endpoints
        if event_type in endpoint.event_types
    )


def delivery_resend(*, delivery: WebhookDelivery, now: datetime) -> None:
    """Have an event sent again from the first attempt on."""
    delivery.num_attempts, delivery.next_attempt_at, delivery.delivered_at = 0, now, None
    delivery.save(update_fields=["num_attempts", "next_attempt_at", "delivered_at"])
