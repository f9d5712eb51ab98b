from django.urls import path, re_path

from fettle_platform.web.views import asset, page

urlpatterns = [
    path("static/app/<path:name>", asset),
    # A first part with a dot is a file that is not there (favicon.ico), never an address of the page.
    re_path(r"^(?:[^/.]+(?:/.*)?)?$", page),
]
