import pytest
from django.db import DatabaseError, connection
from django.http import JsonResponse
from django.urls import path

from fettle_platform.core import converters  # noqa: F401 -- registers the converter


def show(request, model):
    return JsonResponse({"model": model})


urlpatterns = [
    path("v1/models/<model_id:model>/permissions", lambda request, model: JsonResponse({"permissions": model})),
    path("v1/models/<model_id:model>", show),
]


@pytest.mark.parametrize(
    ("sent", "model"),
    [
        ("fettle-tiny", "fettle-tiny"),
        ("Qwen%2FQwen3-4B", "Qwen/Qwen3-4B"),
        ("Qwen%252FQwen3-4B", "Qwen/Qwen3-4B"),
        ("ft:Qwen%2FQwen3-4B:acme:sums:a1B2c3D4:ckpt-step-8", "ft:Qwen/Qwen3-4B:acme:sums:a1B2c3D4:ckpt-step-8"),
    ],
)
def test_model_ids_route_with_slashes_and_colons(client, settings, sent, model):
    settings.ROOT_URLCONF = __name__
    assert client.get(f"/v1/models/{sent}", headers={"host": "localhost"}).json() == {"model": model}
    answer = client.get(f"/v1/models/{sent}/permissions", headers={"host": "localhost"})
    assert answer.json() == {"permissions": model}


def test_healthz_says_when_the_database_is_away(anonymous, db, monkeypatch, error_of):
    def fail():
        raise DatabaseError("connection refused to 10.0.0.1")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "cursor", fail)
        error = error_of(anonymous.get("/healthz"), 503)
    assert "10.0.0.1" not in error["message"]
