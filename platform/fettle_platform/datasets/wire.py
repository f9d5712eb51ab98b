"""Files and uploads as JSON on the wire. Source: openai 3.52.0, `types/file_object.py`, `types/upload.py`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rest_framework import serializers

from fettle_platform.datasets.models import UPLOAD_PURPOSES, File, Purpose, Upload, UploadPart


def unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def file_to_wire(file: File) -> dict[str, Any]:
    return {
        "id": file.public_id,
        "object": "file",
        "bytes": file.size_bytes,
        "created_at": unix(file.created_at),
        "expires_at": unix(file.expires_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": file.status,
        "status_details": file.status_details or None,
    }


def validation_to_wire(file: File) -> dict[str, Any]:
    return {"id": file.public_id, "object": "fettle.file_validation", "status": file.status, **file.report}


def upload_to_wire(upload: Upload) -> dict[str, Any]:
    return {
        "id": upload.public_id,
        "object": "upload",
        "bytes": upload.size_bytes,
        "created_at": unix(upload.created_at),
        "expires_at": unix(upload.expires_at),
        "filename": upload.filename,
        "purpose": upload.purpose,
        "mime_type": upload.mime_type,
        "status": upload.current_status,
        "file": file_to_wire(upload.file) if upload.file else None,
    }


def part_to_wire(part: UploadPart) -> dict[str, Any]:
    return {
        "id": part.public_id,
        "object": "upload.part",
        "created_at": unix(part.created_at),
        "upload_id": part.upload.public_id,
    }


class FileObject(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["file"])
    bytes = serializers.IntegerField()
    created_at = serializers.IntegerField(help_text="Unix seconds")
    expires_at = serializers.IntegerField(allow_null=True)
    filename = serializers.CharField()
    purpose = serializers.ChoiceField(Purpose.values)
    status = serializers.ChoiceField(File.Status.values)
    status_details = serializers.CharField(allow_null=True, help_text="what is wrong with the rows, in words")


class FileDeleted(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["file"])
    deleted = serializers.BooleanField()


class OccurrenceObject(serializers.Serializer):
    line = serializers.IntegerField()
    path = serializers.CharField()
    found = serializers.CharField()


class CauseObject(serializers.Serializer):
    code = serializers.CharField()
    severity = serializers.ChoiceField(["error", "warning"])
    path = serializers.CharField(help_text="`[]` where rows differ in the index: `messages[].role`")
    message = serializers.CharField()
    expected = serializers.CharField()
    count = serializers.IntegerField(help_text="how often; `examples` shows the first ones")
    examples = OccurrenceObject(many=True)


class FileValidation(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["fettle.file_validation"])
    status = serializers.ChoiceField(File.Status.values)
    num_rows = serializers.IntegerField()
    num_errors = serializers.IntegerField()
    num_warnings = serializers.IntegerField()
    causes = CauseObject(many=True)
    statistics = serializers.DictField()


class UploadObject(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["upload"])
    bytes = serializers.IntegerField()
    created_at = serializers.IntegerField()
    expires_at = serializers.IntegerField()
    filename = serializers.CharField()
    purpose = serializers.ChoiceField(UPLOAD_PURPOSES)
    mime_type = serializers.CharField()
    status = serializers.ChoiceField(Upload.Status.values)
    file = FileObject(allow_null=True)


class UploadPartObject(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["upload.part"])
    created_at = serializers.IntegerField()
    upload_id = serializers.CharField()


class ExpiresAfter(serializers.Serializer):
    anchor = serializers.ChoiceField(["created_at"])
    seconds = serializers.IntegerField(min_value=3600, max_value=2_592_000)


class FileCreate(serializers.Serializer):
    """The fields of a multipart body; `expires_after` arrives as two, `expires_after[anchor]` and `[seconds]`."""

    file = serializers.FileField(allow_empty_file=False, max_length=255)
    purpose = serializers.ChoiceField(UPLOAD_PURPOSES)
    expires_after = ExpiresAfter(required=False)


class UploadCreate(serializers.Serializer):
    bytes = serializers.IntegerField(min_value=1)
    filename = serializers.CharField(max_length=255)
    mime_type = serializers.CharField(max_length=255)
    purpose = serializers.ChoiceField(UPLOAD_PURPOSES)
    expires_after = ExpiresAfter(required=False)


class UploadPartCreate(serializers.Serializer):
    data = serializers.FileField(allow_empty_file=False)


class UploadComplete(serializers.Serializer):
    part_ids = serializers.ListField(child=serializers.CharField(max_length=64), min_length=1, max_length=10_000)
    md5 = serializers.CharField(required=False, allow_null=True, max_length=64)


def nested_form(data: Any) -> dict[str, Any]:
    """A multipart body as nested values: `{"a[b]": "3600"}` -> `{"a": {"b": "3600"}}`."""
    values: dict[str, Any] = {}
    for name in data:
        outer, bracket, inner = name.partition("[")
        if bracket and inner.endswith("]"):
            group = values.setdefault(outer, {})
            if isinstance(group, dict):
                group[inner[:-1]] = data[name]
        else:
            values[name] = data[name]
    return values
