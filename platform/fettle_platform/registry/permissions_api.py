"""`/v1/fine_tuning/checkpoints/{checkpoint}/permissions`: a project shares a model with others of its organization.

The key of the project that owns the model is what the wire calls an admin key: there is no other kind.
"""

from __future__ import annotations

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fettle_platform.core.idempotency import idempotent
from fettle_platform.core.pagination import page_parameters, paginate
from fettle_platform.core.schema import page_of
from fettle_platform.registry import selectors, services
from fettle_platform.registry.wire import (
    PermissionCreateShape,
    PermissionDeletedShape,
    PermissionShape,
    permission_to_wire,
)


class PermissionsView(APIView):
    @extend_schema(
        operation_id="createCheckpointPermission",
        request=PermissionCreateShape,
        responses={200: page_of(PermissionShape)},
    )
    @idempotent
    def post(self, request: Request, model_id: str) -> Response:
        """Let other projects of the organization use a checkpoint or model for inference."""
        fields = PermissionCreateShape(data=request.data)
        fields.is_valid(raise_exception=True)
        project_ids = fields.validated_data["project_ids"]
        granted = services.permissions_grant(
            scope=request.auth, public_id=model_id, project_ids=project_ids, now=timezone.now()
        )
        ids = {"first_id": granted[0].public_id, "last_id": granted[-1].public_id, "has_more": False}
        return Response({"object": "list", "data": [permission_to_wire(each) for each in granted]} | ids)

    @extend_schema(
        operation_id="listCheckpointPermissions",
        parameters=[
            *page_parameters(10, 100),
            OpenApiParameter("order", OpenApiTypes.STR, enum=["ascending", "descending"]),
            OpenApiParameter("project_id", OpenApiTypes.STR),
        ],
        responses={200: page_of(PermissionShape)},
    )
    def get(self, request: Request, model_id: str) -> Response:
        """Who else may use it, the newest permission first."""
        project_id = request.query_params.get("project_id")
        permissions = selectors.permission_list(request.auth, model_id, project_id=project_id)
        return Response(paginate(request, permissions, permission_to_wire, default_limit=10, max_limit=100))


class PermissionView(APIView):
    @extend_schema(operation_id="deleteCheckpointPermission", responses={200: PermissionDeletedShape})
    def delete(self, request: Request, model_id: str, permission_id: str) -> Response:
        """Take a permission back; it works from the next request on."""
        services.permission_delete(scope=request.auth, public_id=model_id, permission_id=permission_id)
        return Response({"id": permission_id, "object": "checkpoint.permission", "deleted": True})
