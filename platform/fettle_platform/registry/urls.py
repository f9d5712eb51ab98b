from django.urls import path

import fettle_platform.core.converters  # noqa: F401 -- registers model_id
from fettle_platform.registry import api, permissions_api

_PERMISSIONS = "fine_tuning/checkpoints/<model_id:model_id>/permissions"

urlpatterns = [
    path(f"{_PERMISSIONS}/<str:permission_id>", permissions_api.PermissionView.as_view()),
    path(_PERMISSIONS, permissions_api.PermissionsView.as_view()),
    path("models", api.ModelsView.as_view()),
    path("models/<model_id:model_id>", api.ModelView.as_view()),
    path("fettle/models/<model_id:model_id>/adapter", api.AdapterView.as_view()),
    path("fettle/models/<model_id:model_id>", api.ModelDetailsView.as_view()),
]
