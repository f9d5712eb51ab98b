"""`/v1/models`, and the export of what was trained."""

from __future__ import annotations

from django.db import connection
from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fettle_platform.core.errors import NotFound
from fettle_platform.core.storage import get_store
from fettle_platform.registry import selectors, services
from fettle_platform.registry.adapter_zip import adapter_zip
from fettle_platform.registry.catalogue import catalogue
from fettle_platform.registry.wire import (
    ModelDeletedShape,
    ModelListShape,
    ModelShape,
    base_to_wire,
    details_to_wire,
    model_to_wire,
)


class ModelsView(APIView):
    @extend_schema(operation_id="listModels", responses={200: ModelListShape})
    def get(self, request: Request) -> Response:
        """Base models and finished fine-tuned models, all on one page. Checkpoints can be used but are not listed."""
        bases = [base_to_wire(public_id, entry) for public_id, entry in catalogue().items()]
        rows = selectors.model_list(request.auth).order_by("-created_at", "-pk")
        return Response({"object": "list", "data": bases + [model_to_wire(row, request.auth) for row in rows]})


class ModelView(APIView):
    @extend_schema(operation_id="retrieveModel", responses={200: ModelShape})
    def get(self, request: Request, model_id: str) -> Response:
        """One model; `/` in the id is sent as `%2F`."""
        base = catalogue().get(model_id)
        if base is not None:
            return Response(base_to_wire(model_id, base))
        return Response(model_to_wire(selectors.model_get(request.auth, model_id), request.auth))

    @extend_schema(operation_id="deleteModel", responses={200: ModelDeletedShape})
    def delete(self, request: Request, model_id: str) -> Response:
        """Take a fine-tuned model out of service."""
        services.model_delete(scope=request.auth, public_id=model_id)
        return Response({"id": model_id, "object": "model", "deleted": True})


class ModelDetailsView(APIView):
    @extend_schema(operation_id="retrieveModelDetails", responses={200: ModelShape})
    def get(self, request: Request, model_id: str) -> Response:
        """What a model was trained from, which step it is, and what it scored."""
        base = catalogue().get(model_id)
        if base is not None:
            return Response(base_to_wire(model_id, base))
        row = selectors.model_get(request.auth, model_id)
        return Response(details_to_wire(row, selectors.adapter_find(row.adapter_digest), request.auth))


class AdapterView(APIView):
    @extend_schema(operation_id="downloadAdapter", responses={(200, "application/zip"): OpenApiTypes.BINARY})
    def get(self, request: Request, model_id: str) -> StreamingHttpResponse:
        """The weights: a zip of the PEFT folder, ready for `PeftModel.from_pretrained` or vLLM."""
        row = selectors.model_get(request.auth, model_id)
        adapter = selectors.adapter_find(row.adapter_digest)
        if adapter is None:
            raise NotFound(f"The adapter of `{model_id[:100]}` is not in the store.", param="model")
        response = adapter_zip(request, get_store(), adapter)
        if not connection.in_atomic_block:
            connection.close()  # Django would keep it until the last byte is sent
        filename = "".join(c if c.isalnum() or c in "._-" else "-" for c in model_id) + ".zip"
        response["content-disposition"] = content_disposition_header(True, filename)
        return response
