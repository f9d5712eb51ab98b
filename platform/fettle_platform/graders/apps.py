from django.apps import AppConfig


class GradersConfig(AppConfig):
    name = "fettle_platform.graders"
    label = "graders"
