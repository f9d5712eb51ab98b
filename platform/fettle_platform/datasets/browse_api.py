"""`/v1/fettle/files/...`: rows of a file, its bad lines, and new files made of it."""

from __future__ import annotations

import random
from typing import Any

from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fettle_platform.core.errors import InvalidRequest
from fettle_platform.core.idempotency import idempotent
from fettle_platform.core.pagination import page_parameters
from fettle_platform.core.schema import page_of
from fettle_platform.core.streaming import stream_response
from fettle_platform.datasets import browse, selectors, wire
from fettle_platform.datasets.models import File, Purpose
from fettle_platform.datasets.validation import find_overlap

_MAX_ROWS = 200


class ProblemObject(serializers.Serializer):
    code = serializers.CharField()
    severity = serializers.ChoiceField(["error", "warning"])
    path = serializers.CharField(allow_blank=True)
    message = serializers.CharField()
    expected = serializers.CharField()
    found = serializers.CharField()


class FileRow(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["fettle.file_row"])
    line = serializers.IntegerField(help_text="counts from 1 in the file")
    raw = serializers.CharField(allow_blank=True, help_text="the line as it stands, its first 20 000 characters")
    value = serializers.DictField(allow_null=True, help_text="null where the line cannot be read")
    problems = ProblemObject(many=True)


class SplitCreate(serializers.Serializer):
    share = serializers.FloatField(help_text="of the prompts that are held out, greater than 0 and less than 1")
    seed = serializers.IntegerField(required=False, min_value=0, max_value=2**31 - 1)


class SplitObject(serializers.Serializer):
    object = serializers.ChoiceField(["fettle.file_split"])
    seed = serializers.IntegerField()
    training_file = wire.FileObject()
    validation_file = wire.FileObject()


class OverlapExample(serializers.Serializer):
    line = serializers.IntegerField(help_text="in this file")
    other_line = serializers.IntegerField()


class OverlapObject(serializers.Serializer):
    object = serializers.ChoiceField(["fettle.file_overlap"])
    num_rows = serializers.IntegerField(help_text="prompts of the other file that also stand in this one")
    examples = OverlapExample(many=True)


class FileRowsView(APIView):
    @extend_schema(
        operation_id="listFileRows",
        parameters=[
            *page_parameters(50, _MAX_ROWS),
            OpenApiParameter("contains", OpenApiTypes.STR, description="only lines with this text"),
            OpenApiParameter("bad", OpenApiTypes.BOOL, description="only rows with an error"),
        ],
        responses={200: page_of(FileRow)},
    )
    def get(self, request: Request, file_id: str) -> Response:
        """The rows of a fine-tune file in their order. `after=line-317` begins at line 318."""
        file = _fine_tune_file(request, file_id)
        limit = _limit(request.query_params.get("limit"))
        rows = browse.row_list(
            file,
            after_line=_line_of(request.query_params.get("after")),
            limit=limit + 1,
            contains=request.query_params.get("contains", "")[:1000],
            only_bad=request.query_params.get("bad") in ("true", "1"),
        )
        shown = [_row_to_wire(row) for row in rows[:limit]]
        ids = {"first_id": shown[0]["id"] if shown else None, "last_id": shown[-1]["id"] if shown else None}
        return Response({"object": "list", "data": shown, "has_more": len(rows) > limit} | ids)


class BadLinesView(APIView):
    @extend_schema(operation_id="downloadBadLines", responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    def get(self, request: Request, file_id: str) -> StreamingHttpResponse:
        """The lines with an error, as they were uploaded, to be mended and uploaded again."""
        file = _fine_tune_file(request, file_id)
        lines: Any = browse.part_of(file, usable=False)
        size = lines.seek(0, 2)
        lines.seek(0)
        response = stream_response(request, lines, size_bytes=size, content_type="application/octet-stream")
        response["content-disposition"] = content_disposition_header(True, f"bad-lines-of-{file.filename}")
        return response


class UsableRowsView(APIView):
    @extend_schema(operation_id="createFileOfUsableRows", request=None, responses={200: wire.FileObject})
    @idempotent
    def post(self, request: Request, file_id: str) -> Response:
        """A new file of the rows without an error."""
        file = browse.file_keep_usable(file=_fine_tune_file(request, file_id))
        return Response(wire.file_to_wire(file))


class SplitView(APIView):
    @extend_schema(operation_id="splitFile", request=SplitCreate, responses={200: SplitObject})
    @idempotent
    def post(self, request: Request, file_id: str) -> Response:
        """Two new files, one to train on and one to measure on. Equal prompts stay on one side."""
        fields = SplitCreate(data=request.data)
        fields.is_valid(raise_exception=True)
        share = fields.validated_data["share"]
        if not 0 < share < 1:
            raise InvalidRequest(f"share is {share}; expected a number between 0 and 1", param="share")
        seed = fields.validated_data.get("seed", random.SystemRandom().randrange(2**31))
        file = _fine_tune_file(request, file_id)
        training, validation = browse.file_split(file=file, share=share, seed=seed)
        files = {"training_file": wire.file_to_wire(training), "validation_file": wire.file_to_wire(validation)}
        return Response({"object": "fettle.file_split", "seed": seed} | files)


class OverlapView(APIView):
    @extend_schema(
        operation_id="retrieveFileOverlap",
        parameters=[OpenApiParameter("other", OpenApiTypes.STR, required=True, description="id of another file")],
        responses={200: OverlapObject},
    )
    def get(self, request: Request, file_id: str) -> Response:
        """Which prompts of another file also stand in this one: measured on those, training looks better than it is."""
        other = _fine_tune_file(request, request.query_params.get("other", ""), param="other")
        overlap = find_overlap(_fine_tune_file(request, file_id), other)
        examples = [{"line": line, "other_line": other_line} for line, other_line in overlap.examples]
        return Response({"object": "fettle.file_overlap", "num_rows": overlap.num_rows, "examples": examples})


def _fine_tune_file(request: Request, file_id: str, param: str = "file_id") -> File:
    file = selectors.file_get(request.auth, file_id)
    if file.purpose != Purpose.FINE_TUNE:
        raise InvalidRequest(f"The file {file_id} has the purpose {file.purpose}; expected fine-tune", param=param)
    return file


def _row_to_wire(row: browse.Row) -> dict[str, Any]:
    problems = [
        {"code": cause.code, "severity": cause.severity, "message": cause.message, "expected": cause.expected}
        | {"path": occurrence.path, "found": occurrence.found}
        for cause in row.problems
        for occurrence in cause.examples
    ]
    return {
        "id": f"line-{row.line}",
        "object": "fettle.file_row",
        "line": row.line,
        "raw": row.raw,
        "value": row.value,
        "problems": problems,
    }


def _line_of(after: str | None) -> int:
    if not after:
        return 0
    number = after.removeprefix("line-")
    if not (after.startswith("line-") and number.isascii() and number.isdigit() and len(number) < 12):
        raise InvalidRequest(f"after is {after[:80]!r}; expected the id of a row, such as line-317", param="after")
    return int(number)


def _limit(text: str | None) -> int:
    if text is None:
        return 50
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if not 1 <= limit <= _MAX_ROWS:
        message = f"limit is {text[:40]!r}; expected a whole number from 1 to {_MAX_ROWS}"
        raise InvalidRequest(message, param="limit")
    return limit
