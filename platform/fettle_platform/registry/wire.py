"""Models as JSON on the wire."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rest_framework import serializers

from fettle_platform.accounts.scoping import Scope
from fettle_platform.registry.models import Adapter, Model, Permission
from fettle_workers.contract.catalogue import BaseModelEntry

# Base models have no time of creation here; the wire wants one, and it must not change from call to call.
_BASE_CREATED = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())


def base_to_wire(public_id: str, entry: BaseModelEntry) -> dict[str, Any]:
    return {
        "id": public_id,
        "object": "model",
        "created": _BASE_CREATED,
        "owned_by": "system",
        "fettle": {"kind": "base", "base_model": public_id, "description": entry.description},
    }


def model_to_wire(row: Model, scope: Scope) -> dict[str, Any]:
    return {
        "id": row.public_id,
        "object": "model",
        "created": int(row.created_at.timestamp()),
        "owned_by": scope.organization.name,
        "fettle": {
            "kind": "checkpoint" if row.is_checkpoint else "fine_tuned",
            "base_model": row.base_model,
            "step": row.step,
            "fine_tuning_job_id": row.job_id,
        },
    }


def details_to_wire(row: Model, adapter: Adapter | None, scope: Scope) -> dict[str, Any]:
    """Lineage and scores; `files` are what the adapter's download holds."""
    described = model_to_wire(row, scope)
    described["fettle"] |= {
        "trained_from": row.parent,
        "adapter_digest": row.adapter_digest,
        "files": adapter.files if adapter else {},
        **row.details,
    }
    return described


def permission_to_wire(permission: Permission) -> dict[str, Any]:
    return {
        "id": permission.public_id,
        "object": "checkpoint.permission",
        "created_at": int(permission.created_at.timestamp()),
        "project_id": permission.project.public_id,
    }


class ModelShape(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["model"])
    created = serializers.IntegerField()
    owned_by = serializers.CharField()
    fettle = serializers.DictField(help_text="kind (base, fine_tuned, checkpoint), base_model, step, job")


class ModelListShape(serializers.Serializer):
    object = serializers.ChoiceField(["list"])
    data = ModelShape(many=True)


class ModelDeletedShape(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["model"])
    deleted = serializers.BooleanField()


class PermissionShape(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["checkpoint.permission"])
    created_at = serializers.IntegerField()
    project_id = serializers.CharField()


class PermissionCreateShape(serializers.Serializer):
    project_ids = serializers.ListField(child=serializers.CharField(max_length=64), allow_empty=False, max_length=100)


class PermissionDeletedShape(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["checkpoint.permission"])
    deleted = serializers.BooleanField()
