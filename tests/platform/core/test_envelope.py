import json

import pytest
from django.db import OperationalError


def test_healthz_needs_no_key(anonymous, db):
    response = anonymous.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1", "/v1/files/", "/internal/nothing", "/nothing", "/"])
def test_unknown_routes_answer_in_the_envelope(api, error_of, path):
    assert error_of(api.get(path), 404)["code"] == "unknown_url"


def test_a_trailing_slash_is_not_redirected(api, error_of):
    error_of(api.post("/v1/files/", {}), 404)


def test_wrong_methods_are_405_and_name_the_right_ones(api, error_of):
    response = api.put("/v1/files", {})
    assert error_of(response, 405)["code"] == "method_not_allowed"
    assert "POST" in response.headers["allow"]


def test_another_content_type_is_415(api, error_of):
    response = api.post("/v1/uploads", "a=1", content_type="application/x-www-form-urlencoded")
    assert error_of(response, 415)["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("{", "not valid JSON"),
        ('{"a": NaN}', "NaN"),
        ('{"a": Infinity}', "Infinity"),
        ('{"a": 1e999}', "1e999"),
        ('{"a": 1, "a": 2}', "'a' is given twice"),
        ("[" * 100_000 + "]" * 100_000, "nested deeper"),
        ('{"a": ' + "[" * 70 + "]" * 70 + "}", "nested deeper"),
        ('{"a": "\\u0000"}', "null character"),
        ('{"a": "\\ud800"}', "surrogate"),
        ('{"a": ' + "9" * 5000 + "}", "too large"),
        (b'{"a": "\xff"}', "not UTF-8"),
    ],
)
def test_bad_json_is_400_and_says_why(api, error_of, body, says):
    error = error_of(api.post("/v1/uploads", body, content_type="application/json"), 400)
    assert error["code"] == "invalid_json"
    assert says in error["message"]


def test_a_body_that_is_no_object_is_an_invalid_type(api, error_of):
    assert error_of(api.post("/v1/uploads", [1], format="json"), 400)["code"] == "invalid_type"


def test_an_empty_json_body_reads_as_an_empty_object(api, error_of):
    response = api.post("/v1/uploads", b"", content_type="application/json")
    assert error_of(response, 400) == {
        "message": "Missing required parameter: 'bytes'.",
        "type": "invalid_request_error",
        "param": "bytes",
        "code": "missing_required_parameter",
    }


def test_param_is_the_dotted_path_of_the_first_error(api, error_of):
    body = {"bytes": 1, "filename": "a", "mime_type": "b", "purpose": "evals"}
    body["expires_after"] = {"anchor": "created_at", "seconds": 1}
    error = error_of(api.post("/v1/uploads", body), 400)
    assert (error["param"], error["code"]) == ("expires_after.seconds", "invalid_value")
    error = error_of(api.post("/v1/uploads", body | {"bytes": "many", "expires_after": None}), 400)
    assert error["param"] == "bytes"
    assert error["code"] == "invalid_type"


def test_a_body_over_the_limit_is_413(api, error_of, change_env, settings):
    change_env(max_json_bytes=1000)
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    response = api.post("/v1/uploads", {"filename": "x" * 1000})
    assert error_of(response, 413)["code"] == "payload_too_large"


def test_any_accept_header_is_answered_with_json(api):
    response = api.get("/v1/files", headers={"accept": "application/binary"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"


def test_null_characters_in_the_address_are_refused(api, error_of):
    error_of(api.get("/v1/files/a%00b"), 400)
    error_of(api.get("/v1/files?after=%00"), 400)


def test_an_unlisted_host_is_told_what_the_operator_must_set(api, error_of):
    response = api.get("/v1/files", headers={"host": "evil.example"})
    assert "FETTLE_ALLOWED_HOSTS" in error_of(response, 400)["message"]


def test_the_clients_request_id_is_kept_and_a_strange_one_is_not(api):
    assert api.get("/healthz", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert api.get("/healthz", headers={"x-request-id": "a b\x01"}).headers["x-request-id"].startswith("req_")


def test_an_unforeseen_error_is_a_500_without_internals_and_logged(api, error_of, monkeypatch, caplog):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("fettle_platform.datasets.selectors.file_list", broken)
    response = api.get("/v1/files")
    error = error_of(response, 500)
    assert error["type"] == "server_error"
    assert error["code"] is None
    assert "secret" not in json.dumps(error)
    assert any(record.exc_info and "secret detail" in str(record.exc_info[1]) for record in caplog.records)


def test_a_database_out_of_reach_is_503(api, error_of, monkeypatch):
    def broken(*args, **kwargs):
        raise OperationalError("connection to 10.0.0.1 refused")

    monkeypatch.setattr("fettle_platform.datasets.selectors.file_list", broken)
    assert "10.0.0.1" not in error_of(api.get("/v1/files"), 503)["message"]


def test_a_store_out_of_reach_is_503(api, error_of, change_env, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    change_env(store_url=f"file://{blocked}/store")
    from django.core.files.uploadedfile import SimpleUploadedFile

    body = {"purpose": "evals", "file": SimpleUploadedFile("a.txt", b"a")}
    response = api.post("/v1/files", body, format="multipart")
    error = error_of(response, 503)
    assert error["code"] == "service_unavailable"
    assert str(tmp_path) not in error["message"]


def test_serving_over_http_limits_bodies_before_they_are_spooled(http, error_of, fettle_env):
    def endless():
        for _ in range(20):
            yield b"x" * 1024 * 1024

    response = http.post("/v1/uploads", content=endless(), headers={"content-type": "application/json"})
    assert error_of(response, 413)["code"] == "payload_too_large"
    response = http.post("/v1/uploads", content=b"x" * (17 * 1024 * 1024), headers={"content-type": "application/json"})
    assert error_of(response, 413)["code"] == "payload_too_large"
    assert http.get("/healthz").status_code == 200


def test_a_chunked_json_body_is_read(http, error_of):
    response = http.post(
        "/v1/uploads", content=iter([b'{"bytes"', b": 0}"]), headers={"content-type": "application/json"}
    )
    assert error_of(response, 400)["param"] == "bytes"
    assert "1" in response.json()["error"]["message"]
