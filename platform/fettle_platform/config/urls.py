"""Every route. Each app brings its own `urls.py`; what matches nothing below an API prefix answers in the envelope."""

from __future__ import annotations

from django.urls import include, path, re_path

from fettle_platform.core.views import Healthz, OpenAPISchema, unknown_route

urlpatterns = [
    path("healthz", Healthz.as_view()),
    path("v1/openapi.json", OpenAPISchema.as_view()),
    path("v1/", include("fettle_platform.accounts.urls")),
    path("v1/", include("fettle_platform.datasets.urls")),
    path("v1/", include("fettle_platform.lab.urls")),  # before the graders, whose ids stand in the same place
    path("v1/", include("fettle_platform.graders.urls")),
    path("v1/", include("fettle_platform.jobs.urls")),
    path("v1/", include("fettle_platform.plans.urls")),
    path("v1/", include("fettle_platform.registry.urls")),
    path("v1/", include("fettle_platform.inference.urls")),
    path("v1/", include("fettle_platform.webhooks.urls")),
    path("internal/", include("fettle_platform.jobs.internal_urls")),
    re_path(r"^(?:v1|internal)(?:/|$)", unknown_route),
    # Everything else is the web page's, whose own router knows the addresses below it.
    path("", include("fettle_platform.web.urls")),
]
handler400 = "fettle_platform.core.views.bad_request"
handler403 = "fettle_platform.core.views.forbidden"
handler404 = "fettle_platform.core.views.unknown_route"
handler500 = "fettle_platform.core.views.server_error"
