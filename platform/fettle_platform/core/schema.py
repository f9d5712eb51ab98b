"""The OpenAPI document: every operation carries the error envelope, only the public API is in it.

Usage in a view: `@extend_schema(operation_id="...", request=..., responses={200: ...})`; the errors come by themselves.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import inline_serializer
from pydantic import BaseModel
from rest_framework import serializers


class ErrorBody(serializers.Serializer):
    message = serializers.CharField()
    type = serializers.CharField()
    param = serializers.CharField(allow_null=True, help_text="dotted path of the parameter that is wrong")
    code = serializers.CharField(allow_null=True, help_text="stable; messages may change")


class ErrorEnvelope(serializers.Serializer):
    error = ErrorBody()


_ERRORS = {
    "400": "The request is wrong; `param` says where",
    "401": "No valid API key",
    "403": "The key may not do that",
    "404": "No such object in this project",
    "405": "Not a method of this path",
    "409": "The same request is still being worked on; try again",
    "413": "The body is too large",
    "415": "The body has another content type",
    "429": "Too many requests; wait as long as `retry-after` says",
    "500": "A fault of the server",
    "503": "A service behind the server is out of reach",
}
_WITH_BODY_ONLY = {"409", "413", "415"}


class FettleSchema(AutoSchema):
    def _get_response_bodies(self, direction: str = "response") -> dict[str, Any]:
        responses = super()._get_response_bodies(direction)
        for code, description in _ERRORS.items():
            if code in responses or (code in _WITH_BODY_ONLY and self.method not in ("POST", "PUT", "PATCH")):
                continue
            response = self._get_response_for_code(ErrorEnvelope, code, ["application/json"], direction)
            responses[code] = response | {"description": description}
        return dict(sorted(responses.items()))

    def get_tags(self) -> list[str]:
        return [self.view.__module__.split(".")[1]]


class KeyOrSessionScheme(OpenApiAuthenticationExtension):
    target_class = "fettle_platform.accounts.auth.KeyOrSession"
    name = ("ApiKey", "Session")

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        return [
            {"type": "http", "scheme": "bearer", "description": "An API key, `fk_...`"},
            {
                "type": "apiKey",
                "in": "cookie",
                "name": "fettle_session",
                "description": "A person's browser, signed in; the port follows the name where the address has one",
            },
        ]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        return [{"ApiKey": []}, {"Session": []}]


def public_endpoints(endpoints: list[Any]) -> list[Any]:
    return [endpoint for endpoint in endpoints if endpoint[0].startswith("/v1/")]


def schema_of(model: type[BaseModel], mode: Literal["serialization", "validation"] = "serialization") -> dict[str, Any]:
    """The JSON schema of a pydantic model as one piece, for `extend_schema_field`; the model must not hold itself.

    Args:
        mode: `validation` for what is sent to us, where a field with a default may be left out.
    """
    schema = model.model_json_schema(mode=mode)
    named = schema.pop("$defs", {})

    def inlined(part: Any) -> Any:
        if isinstance(part, list):
            return [inlined(inner) for inner in part]
        if not isinstance(part, dict):
            return part
        # The variants of a union stand in its place, so there is no name left that a discriminator could map to.
        dropped = ("$ref", "title", "discriminator") if "oneOf" in part else ("$ref", "title")
        rest = {key: inlined(inner) for key, inner in part.items() if key not in dropped}
        return inlined(named[part["$ref"].rsplit("/", 1)[-1]]) | rest if "$ref" in part else rest

    whole: dict[str, Any] = inlined(schema)
    return whole


@cache
def page_of(item: type[serializers.Serializer]) -> serializers.Serializer:
    """The documented shape of a cursor page of `item`. One for each `item`: two of one name would be ambiguous."""
    fields = {
        "object": serializers.ChoiceField(["list"]),
        "data": item(many=True),
        "first_id": serializers.CharField(allow_null=True),
        "last_id": serializers.CharField(allow_null=True),
        "has_more": serializers.BooleanField(),
    }
    return inline_serializer(f"{item.__name__}Page", fields)
