from django.apps import AppConfig


class InferenceConfig(AppConfig):
    name = "fettle_platform.inference"
    label = "inference"
