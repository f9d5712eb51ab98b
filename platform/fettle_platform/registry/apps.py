from django.apps import AppConfig


class RegistryConfig(AppConfig):
    name = "fettle_platform.registry"
    label = "registry"
