import hashlib
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from fettle_platform.core.storage import get_store
from fettle_platform.datasets import guards, services
from fettle_platform.datasets.models import File, Purpose

ROW = {"messages": [{"role": "user", "content": "Add 2 and 3."}], "answer": "5"}
ROWS = (json.dumps(ROW) + "\n").encode()


def upload(api, data=ROWS, name="train.jsonl", purpose="fine-tune", **fields):
    body = {"purpose": purpose, **fields, "file": SimpleUploadedFile(name, data)}
    return api.post("/v1/files", body, format="multipart")


@pytest.fixture
def file_id(api):
    return upload(api).json()["id"]


def test_a_file_is_stored_and_described(api, golden):
    response = upload(api)
    assert response.status_code == 200
    golden("file", response.json())
    file = File.objects.get()
    with get_store().open(file.store_key) as stream:
        assert stream.read() == ROWS
    assert file.sha256 == hashlib.sha256(ROWS).hexdigest()


def test_the_list_holds_it_newest_first_and_by_purpose(api, file_id, golden):
    other = upload(api, b"x", "x.txt", "evals").json()["id"]
    page = api.get("/v1/files").json()
    assert [entry["id"] for entry in page["data"]] == [other, file_id]
    golden("file_page", page)
    assert [entry["id"] for entry in api.get("/v1/files?purpose=fine-tune").json()["data"]] == [file_id]


def test_an_unknown_purpose_in_the_list_is_400(api, error_of):
    assert error_of(api.get("/v1/files?purpose=fun"), 400)["param"] == "purpose"


def test_it_is_shown_read_back_and_deleted(api, file_id):
    assert api.get(f"/v1/files/{file_id}").json()["id"] == file_id
    response = api.get(f"/v1/files/{file_id}/content")
    assert b"".join(response.streaming_content) == ROWS
    assert response.headers["content-length"] == str(len(ROWS))
    assert response.headers["content-disposition"] == 'attachment; filename="train.jsonl"'
    assert api.delete(f"/v1/files/{file_id}").json() == {"id": file_id, "object": "file", "deleted": True}


def test_deleting_takes_the_bytes_too(api, file_id, django_capture_on_commit_callbacks, error_of):
    with django_capture_on_commit_callbacks(execute=True):
        api.delete(f"/v1/files/{file_id}")
    assert list(get_store().list("files/")) == []
    error_of(api.get(f"/v1/files/{file_id}"), 404)
    error_of(api.delete(f"/v1/files/{file_id}"), 404)


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [("bytes=0-4", 0, 5), ("bytes=5-", 5, None), ("bytes=-3", -3, None), ("bytes=4-10000", 4, None)],
)
def test_a_range_of_the_content(api, file_id, header, start, end):
    response = api.get(f"/v1/files/{file_id}/content", headers={"range": header})
    assert response.status_code == 206
    assert b"".join(response.streaming_content) == ROWS[start:end]
    assert response.headers["content-range"].endswith(f"/{len(ROWS)}")


@pytest.mark.parametrize("header", ["bytes=-", "bytes=9-2", "bytes=99999-", "lines=1-2", "bytes=0-1,3-4"])
def test_any_other_range_gives_the_whole_file(api, file_id, header):
    response = api.get(f"/v1/files/{file_id}/content", headers={"range": header})
    assert response.status_code == 200
    assert b"".join(response.streaming_content) == ROWS


@pytest.mark.parametrize("path", ["/v1/files/{}", "/v1/files/{}/content", "/v1/fettle/files/{}/validation"])
def test_another_projects_file_is_404_as_one_that_never_was(api, foreign_api, file_id, error_of, path):
    theirs = error_of(foreign_api.get(path.format(file_id)), 404)
    nothing = error_of(foreign_api.get(path.format("file-none")), 404)
    assert theirs["message"].replace(file_id, "") == nothing["message"].replace("file-none", "")
    assert theirs["code"] == "not_found"


def test_another_projects_file_cannot_be_deleted_or_listed(api, foreign_api, file_id, error_of):
    error_of(foreign_api.delete(f"/v1/files/{file_id}"), 404)
    assert foreign_api.get("/v1/files").json()["data"] == []
    assert api.get(f"/v1/files/{file_id}").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/v1/files"),
        ("post", "/v1/files"),
        ("get", "/v1/files/file-x"),
        ("delete", "/v1/files/file-x"),
        ("get", "/v1/files/file-x/content"),
        ("get", "/v1/fettle/files/file-x/validation"),
    ],
)
def test_no_key_is_401_on_every_route(anonymous, db, error_of, method, path):
    error_of(getattr(anonymous, method)(path), 401)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("put", "/v1/files"),
        ("delete", "/v1/files"),
        ("post", "/v1/files/file-x"),
        ("post", "/v1/files/file-x/content"),
        ("post", "/v1/fettle/files/file-x/validation"),
    ],
)
def test_a_wrong_method_is_405_on_every_route(api, error_of, method, path):
    error_of(getattr(api, method)(path), 405)


def test_bad_uploads_are_400_and_name_the_field(api, error_of):
    assert error_of(upload(api, purpose="fun"), 400)["param"] == "purpose"
    assert error_of(upload(api, purpose="fine-tune-results"), 400)["param"] == "purpose"
    assert error_of(upload(api, b""), 400)["param"] == "file"
    assert error_of(upload(api, name="train.csv"), 400)["code"] == "invalid_file_format"
    assert error_of(api.post("/v1/files", {"purpose": "evals"}, format="multipart"), 400)["param"] == "file"
    wrong = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "10"}
    assert error_of(upload(api, **wrong), 400)["param"] == "expires_after.seconds"
    response = api.post("/v1/files", b"no parts", content_type="multipart/form-data")
    error_of(response, 400)
    error_of(api.post("/v1/files", {"purpose": "evals"}, format="json"), 415)
    assert not File.objects.exists()


def test_a_file_over_the_limit_is_413_and_leaves_nothing(api, error_of, change_env, fettle_env):
    change_env(max_file_bytes=100, max_part_bytes=50)
    assert error_of(upload(api, b"x" * 101, "a.txt", "evals"), 413)["code"] == "payload_too_large"
    assert not File.objects.exists()
    assert list(fettle_env.temporary_dir.iterdir()) == []
    assert upload(api, b"x" * 100, "a.txt", "evals").status_code == 200


def test_the_largest_of_part_and_file_does_not_lift_the_limit_of_files(api, error_of, change_env):
    change_env(max_file_bytes=50, max_part_bytes=1000)
    error_of(upload(api, b"x" * 51, "a.txt", "evals"), 413)


def test_expired_files_are_gone_and_swept(api, scope, error_of, django_capture_on_commit_callbacks):
    fields = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    made = upload(api, **fields).json()
    assert made["expires_at"] - made["created_at"] in (3600, 3601)
    File.objects.update(expires_at=timezone.now())
    error_of(api.get(f"/v1/files/{made['id']}"), 404)
    with django_capture_on_commit_callbacks(execute=True):
        assert services.files_expire() == 1
    assert list(get_store().list("files/")) == []


@pytest.fixture
def in_use(monkeypatch):
    monkeypatch.setattr(guards, "_guards", [lambda file: "it is used by the running job ftjob-1"])


def test_a_file_in_use_stays(api, file_id, in_use, error_of):
    error = error_of(api.delete(f"/v1/files/{file_id}"), 400)
    assert error["code"] == "invalid_state"
    assert "ftjob-1" in error["message"]
    File.objects.update(expires_at=timezone.now())
    assert services.files_expire() == 0


def test_a_file_with_wrong_rows_is_kept_with_status_error(api, golden):
    bad = ROWS + b'{"messages": []}\n{"messages": [{"role": "robot", "content": "x"}]}\nnot json\n'
    made = upload(api, bad).json()
    golden("file_error", made)
    golden("validation_error", api.get(f"/v1/fettle/files/{made['id']}/validation").json())


def test_only_fine_tune_files_have_a_validation_report(api, error_of):
    made = upload(api, b"x", "a.txt", "evals").json()
    error_of(api.get(f"/v1/fettle/files/{made['id']}/validation"), 404)


def test_the_same_idempotency_key_stores_one_file(api, error_of):
    def send(data):
        body = {"purpose": "evals", "file": SimpleUploadedFile("a.txt", data)}
        return api.post("/v1/files", body, format="multipart", headers={"idempotency-key": "k"})

    assert send(b"x").json() == send(b"x").json()
    assert File.objects.count() == 1
    error_of(send(b"y"), 400)


def test_strange_file_names_are_kept_as_data_only(api, scope):
    made = upload(api, b"x", "../../etc/passwd" + "x" * 300 + "." + "y" * 290, "evals").json()
    assert "/" not in made["filename"]
    assert len(made["filename"]) <= 255
    assert list(get_store().list("")) == [f"files/{made['id']}"]


def test_jobs_store_result_files_through_the_same_service(scope, api):
    file = services.file_create(
        project=scope.project, purpose=Purpose.FINE_TUNE_RESULTS, filename="step_metrics.csv", source=b"step\n1\n"
    )
    assert api.get(f"/v1/files/{file.public_id}").json()["purpose"] == "fine-tune-results"


def test_a_row_that_cannot_be_made_takes_its_bytes_back(scope, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError

    monkeypatch.setattr(File, "save", fail)
    with pytest.raises(RuntimeError):
        services.file_create(project=scope.project, purpose="evals", filename="a", source=b"x")
    assert list(get_store().list("files/")) == []
