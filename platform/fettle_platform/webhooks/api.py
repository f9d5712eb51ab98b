"""`/v1/webhook_endpoints` and `/v1/webhook_event_types`, as the official client calls them; the log of deliveries."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fettle_platform.core.errors import InvalidRequest
from fettle_platform.core.idempotency import idempotent
from fettle_platform.core.ids import new_id
from fettle_platform.core.pagination import page_parameters, paginate
from fettle_platform.core.schema import page_of
from fettle_platform.webhooks import selectors, services, wire
from fettle_platform.webhooks.deliver import send
from fettle_platform.webhooks.models import EventType, WebhookDelivery
from fettle_workers.egress import EgressError


class EndpointsView(APIView):
    @extend_schema(
        operation_id="createWebhookEndpoint",
        request=wire.EndpointCreateShape,
        responses={200: wire.EndpointWithSecretShape},
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Have events sent to an address. The signing secret is in this answer and in no other."""
        fields = wire.EndpointCreateShape(data=request.data)
        fields.is_valid(raise_exception=True)
        _check_scheme(fields.validated_data["url"])
        endpoint = services.endpoint_create(project=request.auth.project, now=timezone.now(), **fields.validated_data)
        return Response(wire.endpoint_to_wire(endpoint, with_secret=True))

    @extend_schema(
        operation_id="listWebhookEndpoints",
        parameters=page_parameters(20, 100),
        responses={200: page_of(wire.EndpointShape)},
    )
    def get(self, request: Request) -> Response:
        """List endpoints, the newest first."""
        endpoints = selectors.endpoint_list(request.auth)
        return Response(paginate(request, endpoints, wire.endpoint_to_wire, default_limit=20, max_limit=100))


class EndpointView(APIView):
    @extend_schema(operation_id="retrieveWebhookEndpoint", responses={200: wire.EndpointShape})
    def get(self, request: Request, endpoint_id: str) -> Response:
        return Response(wire.endpoint_to_wire(selectors.endpoint_get(request.auth, endpoint_id)))

    @extend_schema(
        operation_id="updateWebhookEndpoint", request=wire.EndpointUpdateShape, responses={200: wire.EndpointShape}
    )
    @idempotent
    def post(self, request: Request, endpoint_id: str) -> Response:
        """Change name, address or event types, or disable it. Any other update enables a disabled endpoint again."""
        endpoint = selectors.endpoint_get(request.auth, endpoint_id)
        fields = wire.EndpointUpdateShape(data=request.data)
        fields.is_valid(raise_exception=True)
        if "url" in fields.validated_data:
            _check_scheme(fields.validated_data["url"])
        services.endpoint_update(endpoint=endpoint, values=fields.validated_data, now=timezone.now())
        return Response(wire.endpoint_to_wire(endpoint))

    @extend_schema(operation_id="deleteWebhookEndpoint", responses={200: wire.EndpointDeletedShape})
    def delete(self, request: Request, endpoint_id: str) -> Response:
        """Stop sending. What was not delivered yet is dropped."""
        selectors.endpoint_get(request.auth, endpoint_id).delete()
        return Response({"id": endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True})


class RotateSecretView(APIView):
    @extend_schema(
        operation_id="rotateWebhookSecret", request=wire.RotateShape, responses={200: wire.EndpointWithSecretShape}
    )
    @idempotent
    def post(self, request: Request, endpoint_id: str) -> Response:
        """Make a new signing secret. The old one is void at once, or signs beside it for a day."""
        endpoint = selectors.endpoint_get(request.auth, endpoint_id)
        fields = wire.RotateShape(data=request.data)
        fields.is_valid(raise_exception=True)
        keep_old = fields.validated_data["keep_old_secret_active_for_24_hours"]
        services.secret_rotate(endpoint=endpoint, keep_old=keep_old, now=timezone.now())
        return Response(wire.endpoint_to_wire(endpoint, with_secret=True))


class TestView(APIView):
    @extend_schema(operation_id="testWebhookEndpoint", request=wire.TestShape, responses={200: wire.TestResultShape})
    @idempotent
    def post(self, request: Request, endpoint_id: str) -> Response:
        """Send a sample event now, once, and say what the receiver answered."""
        endpoint = selectors.endpoint_get(request.auth, endpoint_id)
        fields = wire.TestShape(data=request.data)
        fields.is_valid(raise_exception=True)
        event_type, now = fields.validated_data["event_type"], timezone.now()
        sample = WebhookDelivery(
            endpoint=endpoint,
            event_id=new_id("evt_"),
            event_type=event_type,
            object_id=new_id("ftjob-"),
            created_at=now,
        )
        try:
            answer = send(sample, now=now)
        except EgressError as error:
            raise InvalidRequest(str(error), param="url", code="webhook_unreachable") from None
        result = {"object": "webhook_endpoint.test", "webhook_endpoint_id": endpoint_id, "event_type": event_type}
        return Response(result | {"status_code": answer.status, "success": True})


class EventTypesView(APIView):
    @extend_schema(operation_id="listWebhookEventTypes", responses={200: wire.EventTypesShape})
    def get(self, request: Request) -> Response:
        """The types of events that happen on this server."""
        return Response({"object": "list", "data": EventType.values})


class DeliveriesView(APIView):
    @extend_schema(
        operation_id="listWebhookDeliveries",
        parameters=page_parameters(20, 100),
        responses={200: page_of(wire.DeliveryShape)},
    )
    def get(self, request: Request, endpoint_id: str) -> Response:
        """What was sent in the last 30 days or waits to be, the newest first."""
        deliveries = selectors.delivery_list(selectors.endpoint_get(request.auth, endpoint_id))
        page = paginate(
            request, deliveries, wire.delivery_to_wire, default_limit=20, max_limit=100, id_field="event_id"
        )
        return Response(page)


class ResendView(APIView):
    @extend_schema(operation_id="resendWebhookDelivery", request=None, responses={200: wire.DeliveryShape})
    @idempotent
    def post(self, request: Request, endpoint_id: str, event_id: str) -> Response:
        """Send an event again, under its old id, with the full number of attempts."""
        endpoint = selectors.endpoint_get(request.auth, endpoint_id)
        delivery = selectors.delivery_get(endpoint, event_id)
        services.delivery_resend(delivery=delivery, now=timezone.now())
        return Response(wire.delivery_to_wire(delivery))


def _check_scheme(url: str) -> None:
    """http is for receivers in networks that the operator allowed by name: on the way nobody else is met."""
    if urlsplit(url).scheme != "https" and not settings.FETTLE.egress_allow:
        raise InvalidRequest("url has to begin with https://", param="url")
