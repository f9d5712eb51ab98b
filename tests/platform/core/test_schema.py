import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture
def document(anonymous, db):
    response = anonymous.get("/v1/openapi.json")
    assert response.status_code == 200
    return response.json()


def operations(document):
    return [
        (path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


def test_the_document_is_valid_openapi(document):
    OpenAPIV31SpecValidator(document).validate()


def test_every_operation_carries_the_error_envelope(document):
    for path, method, operation in operations(document):
        for code in ("400", "401", "404", "429", "500"):
            schema = operation["responses"][code]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ErrorEnvelope"}, (path, method, code)


def test_every_operation_has_its_own_name_and_needs_a_key_or_a_session(document):
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    for path, _, operation in operations(document):
        # Whoever signs in has neither yet.
        needed = None if path == "/v1/fettle/session" else [{"ApiKey": []}, {"Session": []}]
        assert operation.get("security") == needed, path


def test_only_the_public_api_is_in_it(document):
    assert {"/v1/files", "/v1/uploads", "/v1/fine_tuning/alpha/graders/run"} <= set(document["paths"])
    assert not [path for path in document["paths"] if not path.startswith("/v1/")]
    assert "multipart/form-data" in document["paths"]["/v1/files"]["post"]["requestBody"]["content"]


def test_every_object_of_the_wire_that_the_server_sends_is_described(document):
    schemas = document["components"]["schemas"]
    assert set(schemas["FileObject"]["properties"]) == {
        "id", "object", "bytes", "created_at", "expires_at", "filename", "purpose", "status", "status_details",
    }  # fmt: skip


def test_every_name_that_is_referred_to_is_there(document):
    def referred(part):
        if isinstance(part, list):
            return [name for inner in part for name in referred(inner)]
        if isinstance(part, dict):
            return [name for inner in part.values() for name in referred(inner)]
        return [part] if isinstance(part, str) and part.startswith("#/") else []

    names = set(referred(document))
    assert names
    assert not [
        name for name in names if name.removeprefix("#/components/schemas/") not in document["components"]["schemas"]
    ]
