"""Sessions, keys and members as JSON on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rest_framework import serializers

from fettle_platform.accounts.models import ApiKey, Member, Organization, Project, User
from fettle_platform.accounts.scoping import Scope


def session_to_wire(scope: Scope | None) -> dict[str, Any]:
    if scope is None:
        return {"object": "fettle.session", "signed_in": False, "user": None, "role": None} | dict.fromkeys(
            ("organization", "project", "projects")
        )
    return {
        "object": "fettle.session",
        "signed_in": True,
        "user": None if scope.user is None else user_to_wire(scope.user),
        "role": scope.role,
        "organization": named_to_wire(scope.organization),
        "project": named_to_wire(scope.project),
        "projects": [named_to_wire(project) for project in scope.organization.projects.order_by("pk")],
    }


def named_to_wire(row: Organization | Project) -> dict[str, str]:
    return {"id": row.public_id, "name": row.name}


def project_to_wire(project: Project) -> dict[str, Any]:
    return {
        "id": project.public_id,
        "object": "organization.project",
        "name": project.name,
        "created_at": _unix(project.created_at),
    }


def user_to_wire(user: User) -> dict[str, Any]:
    return {"id": user.public_id, "email": user.email, "name": user.name, "has_password": user.has_usable_password()}


def api_key_to_wire(row: ApiKey, plain: str | None = None) -> dict[str, Any]:
    return {
        "id": row.public_id,
        "object": "organization.project.api_key",
        "name": row.name,
        "redacted_value": f"fk_{row.prefix}...",
        "created_at": _unix(row.created_at),
        "last_used_at": _unix(row.last_used_at),
        "expires_at": _unix(row.expires_at),
        "revoked_at": _unix(row.revoked_at),
        "value": plain,
    }


def member_to_wire(member: Member, link: str | None = None) -> dict[str, Any]:
    return {
        "id": member.user.public_id,
        "object": "organization.user",
        "email": member.user.email,
        "name": member.user.name,
        "role": member.role,
        "added_at": _unix(member.created_at),
        "sign_in_link": link,
    }


def _unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


class SessionCreateShape(serializers.Serializer):
    """Either `link`, or `email` and `password`."""

    email = serializers.EmailField(required=False, max_length=254)
    password = serializers.CharField(required=False, max_length=1024, trim_whitespace=False)
    link = serializers.CharField(required=False, max_length=100, help_text="the secret of a sign-in link")


class NamedShape(serializers.Serializer):
    id = serializers.CharField()
    name = serializers.CharField()


class UserShape(serializers.Serializer):
    id = serializers.CharField()
    email = serializers.CharField()
    name = serializers.CharField(allow_blank=True)
    has_password = serializers.BooleanField()


class SessionShape(serializers.Serializer):
    object = serializers.ChoiceField(["fettle.session"])
    signed_in = serializers.BooleanField()
    user = UserShape(allow_null=True, help_text="null for a program with a key")
    role = serializers.ChoiceField(Member.Role.values, allow_null=True)
    organization = NamedShape(allow_null=True)
    project = NamedShape(allow_null=True)
    projects = NamedShape(many=True, allow_null=True)


class PasswordShape(serializers.Serializer):
    password = serializers.CharField(max_length=1024, trim_whitespace=False)
    current_password = serializers.CharField(
        required=False, max_length=1024, trim_whitespace=False, help_text="needed once there is one"
    )


class ProjectWriteShape(serializers.Serializer):
    name = serializers.CharField(max_length=200)


class ProjectShape(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["organization.project"])
    name = serializers.CharField()
    created_at = serializers.IntegerField()


class ProjectListShape(serializers.Serializer):
    object = serializers.ChoiceField(["list"])
    data = ProjectShape(many=True)


class ApiKeyCreateShape(serializers.Serializer):
    name = serializers.CharField(max_length=200)
    expires_in_days = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=3650)


class ApiKeyShape(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["organization.project.api_key"])
    name = serializers.CharField()
    redacted_value = serializers.CharField()
    created_at = serializers.IntegerField()
    last_used_at = serializers.IntegerField(allow_null=True, help_text="coarse: within ten minutes")
    expires_at = serializers.IntegerField(allow_null=True)
    revoked_at = serializers.IntegerField(allow_null=True)
    value = serializers.CharField(allow_null=True, help_text="the key itself, only in the answer that made it")


class MemberCreateShape(serializers.Serializer):
    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(Member.Role.values)


class MemberChangeShape(serializers.Serializer):
    role = serializers.ChoiceField(Member.Role.values)


class MemberShape(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["organization.user"])
    email = serializers.CharField()
    name = serializers.CharField(allow_blank=True)
    role = serializers.ChoiceField(Member.Role.values)
    added_at = serializers.IntegerField()
    sign_in_link = serializers.CharField(
        allow_null=True, help_text="path of a link that signs them in once; only in the answer that made it"
    )


class MemberListShape(serializers.Serializer):
    object = serializers.ChoiceField(["list"])
    data = MemberShape(many=True)


class DeletedShape(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.CharField()
    deleted = serializers.BooleanField()
