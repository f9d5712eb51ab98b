from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    name = "fettle_platform.webhooks"
    label = "webhooks"
