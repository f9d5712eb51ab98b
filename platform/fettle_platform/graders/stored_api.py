"""`/v1/fettle/graders`: graders by name, in versions that never change."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fettle_graders.spec import GraderSpec, masked
from fettle_platform.core.errors import InvalidRequest
from fettle_platform.core.idempotency import idempotent
from fettle_platform.core.pagination import page_parameters, paginate
from fettle_platform.core.schema import page_of
from fettle_platform.graders import stored
from fettle_platform.graders.api import GraderField
from fettle_platform.graders.models import GraderVersion, StoredGrader
from fettle_platform.graders.services import grader_parse, grader_require_loadable


class GraderStore(serializers.Serializer):
    name = serializers.CharField(min_length=1, max_length=200)
    grader = GraderField()
    note = serializers.CharField(required=False, allow_blank=True, max_length=1000, default="")


class VersionAdd(serializers.Serializer):
    grader = GraderField()
    note = serializers.CharField(required=False, allow_blank=True, max_length=1000, default="")


class VersionShape(serializers.Serializer):
    id = serializers.CharField(help_text="`gradr-...`; a job may name it in the place of a grader")
    object = serializers.ChoiceField(["fettle.grader.version"])
    grader_id = serializers.CharField()
    name = serializers.CharField(help_text="of the grader")
    number = serializers.IntegerField(help_text="counts from 1")
    note = serializers.CharField()
    created_at = serializers.IntegerField()
    deleted = serializers.BooleanField(help_text="its grader was deleted; jobs that name it still show it")
    grader = serializers.DictField(help_text="the definition, secrets masked")


class StoredGraderShape(serializers.Serializer):
    id = serializers.CharField(help_text="`grader-...`; named in a job it means the newest version")
    object = serializers.ChoiceField(["fettle.grader"])
    name = serializers.CharField()
    created_at = serializers.IntegerField()
    num_versions = serializers.IntegerField()
    newest = VersionShape()


class GraderDeletedShape(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["fettle.grader"])
    deleted = serializers.BooleanField()


# `from` cannot be the name of an attribute.
DiffShape = inline_serializer(
    "GraderDiff",
    {
        "object": serializers.ChoiceField(["fettle.grader.diff"]),
        "from": VersionShape(),
        "to": VersionShape(),
        "changes": inline_serializer(
            "GraderChange",
            {
                "path": serializers.CharField(),
                "from": serializers.JSONField(allow_null=True, help_text="null: the field is new"),
                "to": serializers.JSONField(allow_null=True, help_text="null: the field is gone"),
            },
            many=True,
        ),
    },
)


class GradersView(APIView):
    @extend_schema(operation_id="storeGrader", request=GraderStore, responses={200: StoredGraderShape})
    @idempotent
    def post(self, request: Request) -> Response:
        """Store a grader under a name; this is its version 1."""
        values = _read(GraderStore, request)
        grader = stored.grader_store(
            scope=request.auth,
            name=values["name"],
            spec=_loadable(request, values["grader"]),
            note=values["note"],
            now=timezone.now(),
        )
        return Response(grader_to_wire(grader))

    @extend_schema(
        operation_id="listGraders", parameters=page_parameters(20, 100), responses={200: page_of(StoredGraderShape)}
    )
    def get(self, request: Request) -> Response:
        """List stored graders, the newest first."""
        page = paginate(request, stored.grader_list(request.auth), grader_to_wire, default_limit=20, max_limit=100)
        return Response(page)


class GraderView(APIView):
    @extend_schema(operation_id="retrieveGrader", responses={200: StoredGraderShape})
    def get(self, request: Request, grader_id: str) -> Response:
        return Response(grader_to_wire(stored.grader_get(request.auth, grader_id)))

    @extend_schema(operation_id="deleteGrader", responses={200: GraderDeletedShape})
    def delete(self, request: Request, grader_id: str) -> Response:
        """Hide a grader. Jobs keep the definition they were made with."""
        grader = stored.grader_get(request.auth, grader_id)
        stored.grader_delete(grader=grader, now=timezone.now())
        return Response({"id": grader.public_id, "object": "fettle.grader", "deleted": True})


class VersionsView(APIView):
    @extend_schema(operation_id="addGraderVersion", request=VersionAdd, responses={200: VersionShape})
    @idempotent
    def post(self, request: Request, grader_id: str) -> Response:
        """Add a version. A definition equal to the newest one adds none and gives that one."""
        grader = stored.grader_get(request.auth, grader_id)
        values = _read(VersionAdd, request)
        version = stored.version_add(
            grader=grader,
            spec=_loadable(request, values["grader"]),
            note=values["note"],
            now=timezone.now(),
        )
        return Response(version_to_wire(version))

    @extend_schema(
        operation_id="listGraderVersions", parameters=page_parameters(20, 100), responses={200: page_of(VersionShape)}
    )
    def get(self, request: Request, grader_id: str) -> Response:
        """List the versions of a grader, the newest first."""
        grader = stored.grader_get(request.auth, grader_id)
        versions = GraderVersion.objects.filter(grader=grader).select_related("grader")
        page = paginate(request, versions, version_to_wire, default_limit=20, max_limit=100, time_field="number")
        return Response(page)


class VersionView(APIView):
    @extend_schema(operation_id="retrieveGraderVersion", responses={200: VersionShape})
    def get(self, request: Request, grader_id: str, version: str) -> Response:
        """One version, by its number or its id."""
        grader = stored.grader_get(request.auth, grader_id)
        return Response(version_to_wire(stored.version_of(grader, version)))


class AnyVersionView(APIView):
    @extend_schema(operation_id="retrieveAnyGraderVersion", responses={200: VersionShape})
    def get(self, request: Request, version_id: str) -> Response:
        """One version by its id alone, as a job names it; also of a deleted grader."""
        return Response(version_to_wire(stored.version_get(request.auth, version_id)))


class DiffView(APIView):
    @extend_schema(
        operation_id="diffGraderVersions",
        parameters=[
            OpenApiParameter("from", OpenApiTypes.STR, description="number or id; the version before `to` if left out"),
            OpenApiParameter("to", OpenApiTypes.STR, description="number or id; the newest if left out"),
        ],
        responses={200: DiffShape},
    )
    def get(self, request: Request, grader_id: str) -> Response:
        """Two versions and what differs between them."""
        grader = stored.grader_get(request.auth, grader_id)
        named = request.query_params
        new = stored.version_of(grader, named["to"]) if named.get("to") else stored.newest_version(grader)
        if named.get("from"):
            old = stored.version_of(grader, named["from"])
        elif new.number > 1:
            old = stored.version_of(grader, str(new.number - 1))
        else:
            raise InvalidRequest(f"{grader.public_id} has one version only: there is nothing to compare", param="from")
        shown = version_to_wire(old), version_to_wire(new)
        differing = list(stored.changes(shown[0]["grader"], shown[1]["grader"]))
        body: dict[str, Any] = {"object": "fettle.grader.diff", "from": shown[0], "to": shown[1], "changes": differing}
        return Response(body)


def grader_to_wire(grader: StoredGrader) -> dict[str, Any]:
    newest = stored.newest_version(grader)
    return {
        "id": grader.public_id,
        "object": "fettle.grader",
        "name": grader.name,
        "created_at": int(grader.created_at.timestamp()),
        "num_versions": newest.number,
        "newest": version_to_wire(newest),
    }


def version_to_wire(version: GraderVersion) -> dict[str, Any]:
    return {
        "id": version.public_id,
        "object": "fettle.grader.version",
        "grader_id": version.grader.public_id,
        "name": version.grader.name,
        "number": version.number,
        "note": version.note,
        "created_at": int(version.created_at.timestamp()),
        "deleted": version.grader.deleted_at is not None,
        "grader": masked(stored.spec_of(version)),
    }


def _loadable(request: Request, data: Any) -> GraderSpec:
    """The grader in the request, if it can be read and what code it has can be loaded."""
    spec = grader_parse(data=data, param="grader")
    grader_require_loadable(spec=spec, param="grader", organization=str(request.auth.organization.pk))
    return spec


def _read(shape: type[serializers.Serializer], request: Request) -> dict[str, Any]:
    fields = shape(data=request.data)
    fields.is_valid(raise_exception=True)
    values: dict[str, Any] = fields.validated_data
    return values
