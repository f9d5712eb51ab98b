"""Endpoints and deliveries as JSON on the wire."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from fettle_platform.webhooks.models import EventType, WebhookDelivery, WebhookEndpoint
from fettle_platform.webhooks.signing import secret_of


def endpoint_to_wire(endpoint: WebhookEndpoint, *, with_secret: bool = False) -> dict[str, Any]:
    secret = secret_of(endpoint)
    shown = {
        "id": endpoint.public_id,
        "object": "webhook_endpoint",
        "created_at": int(endpoint.created_at.timestamp()),
        "updated_at": int(endpoint.updated_at.timestamp()),
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": endpoint.event_types,
        "signing_secret_hint": f"whsec_...{secret[-4:]}",
        "fettle": {"disabled_at": None if endpoint.disabled_at is None else int(endpoint.disabled_at.timestamp())},
    }
    return shown | {"signing_secret": secret} if with_secret else shown


def delivery_to_wire(delivery: WebhookDelivery) -> dict[str, Any]:
    return {
        "id": delivery.event_id,
        "object": "webhook_delivery",
        "created_at": int(delivery.created_at.timestamp()),
        "event_type": delivery.event_type,
        "data": {"id": delivery.object_id},
        "num_attempts": delivery.num_attempts,
        "next_attempt_at": _seconds(delivery.next_attempt_at),
        "delivered_at": _seconds(delivery.delivered_at),
        "last_status": delivery.last_status,
        "last_error": delivery.last_error or None,
    }


def _seconds(moment: Any) -> int | None:
    return None if moment is None else int(moment.timestamp())


class _Url(serializers.URLField):
    def __init__(self) -> None:
        super().__init__(max_length=2000, help_text="receives POST requests; https, except in networks allowed here")


class _EventTypes(serializers.ListField):
    def __init__(self, **options: Any) -> None:
        super().__init__(child=serializers.ChoiceField(EventType.values), allow_empty=False, max_length=20, **options)


class EndpointCreateShape(serializers.Serializer):
    name = serializers.CharField(max_length=200)
    url = _Url()
    event_types = _EventTypes()


class EndpointUpdateShape(serializers.Serializer):
    name = serializers.CharField(max_length=200, required=False)
    url = serializers.URLField(max_length=2000, required=False)
    event_types = _EventTypes(required=False)
    disabled = serializers.BooleanField(required=False, help_text="true: nothing is sent until the next update")


class _EndpointStateShape(serializers.Serializer):
    disabled_at = serializers.IntegerField(allow_null=True, help_text="by an update, or after three days of failures")


class EndpointShape(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["webhook_endpoint"])
    created_at = serializers.IntegerField()
    updated_at = serializers.IntegerField()
    name = serializers.CharField()
    url = serializers.CharField()
    event_types = serializers.ListField(child=serializers.CharField())
    signing_secret_hint = serializers.CharField()
    fettle = _EndpointStateShape()


class EndpointWithSecretShape(EndpointShape):
    signing_secret = serializers.CharField(help_text="shown now and never again")


class EndpointDeletedShape(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["webhook_endpoint.deleted"])
    deleted = serializers.BooleanField()


class RotateShape(serializers.Serializer):
    keep_old_secret_active_for_24_hours = serializers.BooleanField(required=False, default=False)


class TestShape(serializers.Serializer):
    event_type = serializers.ChoiceField(EventType.values)


class TestResultShape(serializers.Serializer):
    object = serializers.ChoiceField(["webhook_endpoint.test"])
    webhook_endpoint_id = serializers.CharField()
    event_type = serializers.CharField()
    status_code = serializers.IntegerField()
    success = serializers.BooleanField()


class EventTypesShape(serializers.Serializer):
    object = serializers.ChoiceField(["list"])
    data = serializers.ListField(child=serializers.CharField())


class DeliveryDataShape(serializers.Serializer):
    id = serializers.CharField()


class DeliveryShape(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["webhook_delivery"])
    created_at = serializers.IntegerField()
    event_type = serializers.CharField()
    data = DeliveryDataShape()
    num_attempts = serializers.IntegerField()
    next_attempt_at = serializers.IntegerField(allow_null=True, help_text="null: delivered, or given up")
    delivered_at = serializers.IntegerField(allow_null=True)
    last_status = serializers.IntegerField(allow_null=True)
    last_error = serializers.CharField(allow_null=True)
