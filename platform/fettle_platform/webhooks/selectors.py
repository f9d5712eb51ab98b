"""Reads of endpoints and deliveries, limited to the project of the request."""

from __future__ import annotations

from django.db.models import QuerySet

from fettle_platform.accounts.scoping import Scope
from fettle_platform.core.errors import NotFound
from fettle_platform.webhooks.models import WebhookDelivery, WebhookEndpoint


def endpoint_list(scope: Scope) -> QuerySet[WebhookEndpoint]:
    return WebhookEndpoint.objects.for_project(scope)


def endpoint_get(scope: Scope, endpoint_id: str) -> WebhookEndpoint:
    """Raises NotFound."""
    return endpoint_list(scope).fetch(endpoint_id, kind="webhook endpoint")


def delivery_list(endpoint: WebhookEndpoint) -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.filter(endpoint=endpoint)


def delivery_get(endpoint: WebhookEndpoint, event_id: str) -> WebhookDelivery:
    """Raises NotFound."""
    found = delivery_list(endpoint).filter(event_id=event_id).first()
    if found is None:
        raise NotFound(f"No such delivery: {event_id[:100]}")
    return found
