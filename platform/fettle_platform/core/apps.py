from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "fettle_platform.core"
    label = "core"
