from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "fettle_platform.jobs"
    label = "jobs"

    def ready(self) -> None:
        from fettle_platform.datasets.guards import register_deletion_guard
        from fettle_platform.jobs.services import file_needed_by

        register_deletion_guard(file_needed_by)
