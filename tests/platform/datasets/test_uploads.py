import hashlib
import json
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from fettle_platform.core.storage import get_store
from fettle_platform.datasets import upload_services
from fettle_platform.datasets.models import File, Upload

ROW = json.dumps({"messages": [{"role": "user", "content": "1 + 1?"}]}).encode() + b"\n"


def begin(api, **changes):
    body = {"bytes": 2 * len(ROW), "filename": "train.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune"}
    return api.post("/v1/uploads", body | changes)


def add(api, upload_id, data=ROW):
    body = {"data": SimpleUploadedFile("upload", data)}
    return api.post(f"/v1/uploads/{upload_id}/parts", body, format="multipart")


def complete(api, upload_id, part_ids, **fields):
    return api.post(f"/v1/uploads/{upload_id}/complete", {"part_ids": part_ids, **fields})


@pytest.fixture
def upload_id(api):
    return begin(api).json()["id"]


def test_parts_become_a_file_in_the_named_order(api, django_capture_on_commit_callbacks, golden):
    made = begin(api, bytes=6, purpose="evals", filename="a.txt", mime_type="text/plain").json()
    golden("upload_pending", made)
    parts = [add(api, made["id"], data).json() for data in (b"cd", b"ab", b"ef")]
    golden("upload_part", parts[0])
    first, second, third = (part["id"] for part in parts)
    md5 = hashlib.md5(b"abcdef").hexdigest().upper()
    with django_capture_on_commit_callbacks(execute=True):
        done = complete(api, made["id"], [second, first, third], md5=md5)
    golden("upload_completed", done.json())
    file = File.objects.get()
    with get_store().open(file.store_key) as stream:
        assert stream.read() == b"abcdef"
    assert list(get_store().list("uploads/")) == []


def test_joined_parts_fill_every_read_because_s3_clients_take_a_short_one_for_the_end(api, upload_id):
    add(api, upload_id, b"ab")
    add(api, upload_id, b"cdefg")
    joined = upload_services.JoinedParts(list(Upload.objects.get().parts.order_by("pk")))
    assert [joined.read(3) for _ in range(4)] == [b"abc", b"def", b"g", b""]
    assert joined.md5 == hashlib.md5(b"abcdefg").hexdigest()


def test_expiry_is_an_hour_after_creation(api):
    made = begin(api).json()
    assert made["expires_at"] - made["created_at"] in (3600, 3601)


def test_the_rows_of_a_completed_fine_tune_file_are_checked(api, upload_id):
    parts = [add(api, upload_id).json()["id"], add(api, upload_id, ROW.replace(b"user", b"robo")).json()["id"]]
    done = complete(api, upload_id, parts).json()
    assert done["file"]["status"] == "error"
    assert "line 2" in done["file"]["status_details"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"bytes": 0}, "bytes"),
        ({"bytes": 9 * 2**30}, "bytes"),
        ({"purpose": "fun"}, "purpose"),
        ({"filename": "a.csv"}, "file"),
        ({"mime_type": None}, "mime_type"),
        ({"expires_after": {"anchor": "now", "seconds": 3600}}, "expires_after.anchor"),
    ],
)
def test_a_bad_beginning_is_400(api, error_of, change, param):
    assert error_of(begin(api, **change), 400)["param"] == param


def test_a_bad_completion_is_400_and_leaves_the_upload_open(api, upload_id, error_of):
    one, two = add(api, upload_id).json()["id"], add(api, upload_id).json()["id"]
    assert error_of(complete(api, upload_id, []), 400)["param"] == "part_ids"
    assert error_of(complete(api, upload_id, [one]), 400)["param"] == "part_ids"
    assert error_of(complete(api, upload_id, [one, "part_none"]), 400)["param"] == "part_ids.1"
    assert error_of(complete(api, upload_id, [one, one]), 400)["param"] == "part_ids.1"
    assert error_of(complete(api, upload_id, [one, two], md5="0" * 32), 400)["param"] == "md5"
    assert list(get_store().list("files/")) == []
    assert complete(api, upload_id, [one, two]).json()["status"] == "completed"


def test_what_is_over_cannot_go_on(api, upload_id, error_of):
    assert (
        api.post(f"/v1/uploads/{upload_id}/cancel", b"", content_type="application/json").json()["status"]
        == "cancelled"
    )
    for response in (add(api, upload_id), complete(api, upload_id, ["x"]), api.post(f"/v1/uploads/{upload_id}/cancel")):
        assert error_of(response, 400)["code"] == "invalid_state"


def test_cancelling_drops_the_parts(api, upload_id, django_capture_on_commit_callbacks):
    add(api, upload_id)
    with django_capture_on_commit_callbacks(execute=True):
        api.post(f"/v1/uploads/{upload_id}/cancel")
    assert list(get_store().list("uploads/")) == []


def test_an_upload_nobody_completes_expires(api, upload_id, error_of, django_capture_on_commit_callbacks):
    add(api, upload_id)
    Upload.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert "expired" in error_of(add(api, upload_id), 400)["message"]
    with django_capture_on_commit_callbacks(execute=True):
        assert upload_services.uploads_expire() == 1
        assert upload_services.uploads_expire() == 0
    assert list(get_store().list("uploads/")) == []


def test_a_part_over_the_limit_is_413(api, upload_id, error_of, change_env):
    change_env(max_part_bytes=10)
    error_of(add(api, upload_id, b"x" * 11), 413)


def test_parts_cannot_pile_up_without_end(api, upload_id, error_of, change_env):
    change_env(max_part_bytes=100)
    statuses = [add(api, upload_id, b"x" * 100).status_code for _ in range(4)]
    assert statuses[:2] == [200, 200]
    assert statuses[-1] == 400
    assert len(list(get_store().list("uploads/"))) == statuses.count(200)


@pytest.mark.parametrize("action", ["parts", "complete", "cancel"])
def test_another_projects_upload_is_404_and_wrong_calls_are_refused(
    api, foreign_api, anonymous, upload_id, error_of, action
):
    path = f"/v1/uploads/{upload_id}/{action}"
    kwargs = {"format": "multipart"} if action == "parts" else {"format": "json"}
    error_of(foreign_api.post(path, {"part_ids": ["x"]}, **kwargs), 404)
    error_of(anonymous.post(path, {}, **kwargs), 401)
    error_of(api.get(path), 405)


def test_uploads_cannot_be_listed(api, error_of):
    error_of(api.get("/v1/uploads"), 405)


def test_of_two_completions_at_once_one_wins(api, scope, upload_id, error_of):
    parts = [add(api, upload_id).json()["id"] for _ in range(2)]
    stale = Upload.objects.get()
    assert complete(api, upload_id, parts).status_code == 200
    stale.status = Upload.Status.PENDING  # as the second one still saw it
    from fettle_platform.core.errors import InvalidRequest

    with pytest.raises(InvalidRequest, match="completed"):
        upload_services.upload_complete(upload=stale, part_ids=parts)
    assert len(list(get_store().list("files/"))) == 1
