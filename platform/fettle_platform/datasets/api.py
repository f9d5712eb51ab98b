"""`/v1/files`: upload, list, show, delete, read back, and what is wrong with the rows."""

from __future__ import annotations

import re
from typing import Any

from django.conf import settings
from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fettle_platform.core.errors import InvalidRequest, NotFound, PayloadTooLarge
from fettle_platform.core.idempotency import idempotent
from fettle_platform.core.pagination import page_parameters, paginate
from fettle_platform.core.schema import page_of
from fettle_platform.core.storage import get_store
from fettle_platform.core.streaming import stream_response
from fettle_platform.datasets import selectors, services, wire
from fettle_platform.datasets.models import Purpose

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_MAX_LIST = 10_000


class FilesView(APIView):
    def get_parsers(self) -> list[Any]:
        return [MultiPartParser()]

    @extend_schema(
        operation_id="createFile", request={"multipart/form-data": wire.FileCreate}, responses={200: wire.FileObject}
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Upload a file. The rows of a fine-tune file are checked at once; wrong rows make its status `error`."""
        fields = wire.FileCreate(data=wire.nested_form(request.data))
        fields.is_valid(raise_exception=True)
        upload = fields.validated_data["file"]
        if upload.size > settings.FETTLE.max_file_bytes:
            raise PayloadTooLarge(f"The file has {upload.size} bytes; at most {settings.FETTLE.max_file_bytes}")
        file = services.file_create(
            project=request.auth.project,
            purpose=fields.validated_data["purpose"],
            filename=upload.name,
            source=upload,
            expires_after_s=fields.validated_data.get("expires_after", {}).get("seconds"),
        )
        return Response(wire.file_to_wire(file))

    @extend_schema(
        operation_id="listFiles",
        parameters=[
            *page_parameters(_MAX_LIST, _MAX_LIST, order=True),
            OpenApiParameter("purpose", OpenApiTypes.STR, enum=Purpose.values),
        ],
        responses={200: page_of(wire.FileObject)},
    )
    def get(self, request: Request) -> Response:
        purpose = request.query_params.get("purpose")
        if purpose and purpose not in Purpose.values:
            expected = ", ".join(Purpose.values)
            raise InvalidRequest(f"purpose is {purpose[:40]!r}; expected one of {expected}", param="purpose")
        files = selectors.file_list(request.auth, purpose=purpose)
        page = paginate(request, files, wire.file_to_wire, default_limit=_MAX_LIST, max_limit=_MAX_LIST)
        return Response(page)


class FileView(APIView):
    @extend_schema(operation_id="retrieveFile", responses={200: wire.FileObject})
    def get(self, request: Request, file_id: str) -> Response:
        return Response(wire.file_to_wire(selectors.file_get(request.auth, file_id)))

    @extend_schema(operation_id="deleteFile", responses={200: wire.FileDeleted})
    def delete(self, request: Request, file_id: str) -> Response:
        """Delete a file and its bytes. A file that a job in progress needs stays: 400."""
        services.file_delete(file=selectors.file_get(request.auth, file_id))
        return Response({"id": file_id, "object": "file", "deleted": True})


class FileContentView(APIView):
    @extend_schema(
        operation_id="downloadFile",
        parameters=[OpenApiParameter("Range", OpenApiTypes.STR, OpenApiParameter.HEADER, description="bytes=0-99")],
        responses={
            (200, "application/octet-stream"): OpenApiTypes.BINARY,
            (206, "application/octet-stream"): OpenApiTypes.BINARY,
        },
    )
    def get(self, request: Request, file_id: str) -> StreamingHttpResponse:
        """The bytes of a file as they were uploaded."""
        file = selectors.file_get(request.auth, file_id)
        start, end = _requested_range(request.headers.get("Range", ""), file.size_bytes)
        source = get_store().open(file.store_key)
        _skip(source, start)
        response = stream_response(
            request,
            source,
            size_bytes=end - start,
            content_type="application/octet-stream",
            status=206 if end - start < file.size_bytes else 200,
        )
        response["content-disposition"] = content_disposition_header(True, file.filename)
        response["accept-ranges"] = "bytes"
        if response.status_code == 206:
            response["content-range"] = f"bytes {start}-{end - 1}/{file.size_bytes}"
        return response


class FileValidationView(APIView):
    @extend_schema(operation_id="retrieveFileValidation", responses={200: wire.FileValidation})
    def get(self, request: Request, file_id: str) -> Response:
        """What is wrong with the rows of a fine-tune file, grouped by cause, and what the file holds."""
        file = selectors.file_get(request.auth, file_id)
        if file.report is None:
            message = (
                f"The file {file_id} has the purpose {file.purpose}; only fine-tune files have a validation report"
            )
            raise NotFound(message, param="file_id")
        return Response(wire.validation_to_wire(file))


def _requested_range(header: str, size: int) -> tuple[int, int]:
    """First byte and the one after the last. What is not one satisfiable range is answered with the whole file."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or len(header) > 60 or match.groups() == ("", ""):
        return 0, size
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    start, end = int(first), min(int(last) + 1 if last else size, size)
    return (start, end) if start < end else (0, size)


def _skip(source: Any, num_bytes: int) -> None:
    if num_bytes and getattr(source, "seekable", lambda: False)():
        source.seek(num_bytes)
        return
    while num_bytes and (piece := source.read(min(num_bytes, 1024 * 1024))):
        num_bytes -= len(piece)
