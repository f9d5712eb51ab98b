from django.apps import AppConfig


class WebConfig(AppConfig):
    name = "fettle_platform.web"
    label = "web"
