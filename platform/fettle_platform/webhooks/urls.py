from django.urls import path

from fettle_platform.webhooks import api

_ONE = "webhook_endpoints/<str:endpoint_id>"
urlpatterns = [
    path("webhook_endpoints", api.EndpointsView.as_view()),
    path(_ONE, api.EndpointView.as_view()),
    path(f"{_ONE}/rotate_secret", api.RotateSecretView.as_view()),
    path(f"{_ONE}/test", api.TestView.as_view()),
    path("webhook_event_types", api.EventTypesView.as_view()),
    path(f"fettle/{_ONE}/deliveries", api.DeliveriesView.as_view()),
    path(f"fettle/{_ONE}/deliveries/<str:event_id>/resend", api.ResendView.as_view()),
]
