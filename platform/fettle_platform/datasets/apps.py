from django.apps import AppConfig


class DatasetsConfig(AppConfig):
    name = "fettle_platform.datasets"
    label = "datasets"
