"""`/v1/uploads`: files that arrive in parts."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fettle_platform.core.errors import PayloadTooLarge
from fettle_platform.core.idempotency import idempotent
from fettle_platform.datasets import selectors, upload_services, wire


class UploadsView(APIView):
    @extend_schema(operation_id="createUpload", request=wire.UploadCreate, responses={200: wire.UploadObject})
    @idempotent
    def post(self, request: Request) -> Response:
        """Begin an upload in parts. It expires an hour later."""
        fields = wire.UploadCreate(data=request.data)
        fields.is_valid(raise_exception=True)
        values = fields.validated_data
        upload = upload_services.upload_create(
            project=request.auth.project,
            purpose=values["purpose"],
            filename=values["filename"],
            mime_type=values["mime_type"],
            size_bytes=values["bytes"],
            file_expires_after_s=values.get("expires_after", {}).get("seconds"),
        )
        return Response(wire.upload_to_wire(upload))


class UploadPartsView(APIView):
    def get_parsers(self) -> list[Any]:
        return [MultiPartParser()]

    @extend_schema(
        operation_id="addUploadPart",
        request={"multipart/form-data": wire.UploadPartCreate},
        responses={200: wire.UploadPartObject},
    )
    @idempotent
    def post(self, request: Request, upload_id: str) -> Response:
        """Add one part. Parts may arrive in any order; `complete` names theirs."""
        upload = selectors.upload_get(request.auth, upload_id)
        fields = wire.UploadPartCreate(data=request.data)
        fields.is_valid(raise_exception=True)
        data = fields.validated_data["data"]
        if data.size > settings.FETTLE.max_part_bytes:
            raise PayloadTooLarge(f"The part has {data.size} bytes; at most {settings.FETTLE.max_part_bytes}")
        part = upload_services.upload_add_part(upload=upload, source=data, size_bytes=data.size)
        return Response(wire.part_to_wire(part))


class UploadCompleteView(APIView):
    @extend_schema(operation_id="completeUpload", request=wire.UploadComplete, responses={200: wire.UploadObject})
    @idempotent
    def post(self, request: Request, upload_id: str) -> Response:
        """Make the file from the named parts. Their sizes must add up to the declared one."""
        upload = selectors.upload_get(request.auth, upload_id)
        fields = wire.UploadComplete(data=request.data)
        fields.is_valid(raise_exception=True)
        values = fields.validated_data
        done = upload_services.upload_complete(upload=upload, part_ids=values["part_ids"], md5=values.get("md5"))
        return Response(wire.upload_to_wire(done))


class UploadCancelView(APIView):
    @extend_schema(operation_id="cancelUpload", request=None, responses={200: wire.UploadObject})
    @idempotent
    def post(self, request: Request, upload_id: str) -> Response:
        upload = selectors.upload_get(request.auth, upload_id)
        return Response(wire.upload_to_wire(upload_services.upload_cancel(upload=upload)))
