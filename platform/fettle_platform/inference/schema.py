"""Puts the chat completion into the OpenAPI document, which otherwise knows only REST framework's views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class ChatCompletionCreateShape(serializers.Serializer):
    """The fields that every request has; the others are those of the OpenAI wire."""

    model = serializers.CharField()
    messages = serializers.ListField(child=serializers.DictField(), min_length=1)
    max_completion_tokens = serializers.IntegerField(required=False, min_value=1)
    temperature = serializers.FloatField(required=False, min_value=0, max_value=2)
    n = serializers.IntegerField(required=False, min_value=1, max_value=16)
    seed = serializers.IntegerField(required=False)
    stream = serializers.BooleanField(required=False)


class ChatCompletionShape(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["chat.completion"])
    created = serializers.IntegerField()
    model = serializers.CharField()
    choices = serializers.ListField(child=serializers.DictField())
    usage = serializers.DictField()


class _Documentation(APIView):
    """Never called: the schema reads its signature."""

    @extend_schema(
        operation_id="createChatCompletion", request=ChatCompletionCreateShape, responses={200: ChatCompletionShape}
    )
    def post(self, request: Request) -> Response:
        """Answer a conversation, at once or as a stream of server-sent events."""
        raise NotImplementedError


def documented(view: Callable[..., Any]) -> Callable[..., Any]:
    """`view`, marked so that the schema generator takes `_Documentation` for its description."""
    view.cls = _Documentation  # type: ignore[attr-defined]
    view.initkwargs = {}  # type: ignore[attr-defined]
    return view
