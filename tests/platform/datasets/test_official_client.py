import hashlib
import io
import json
import threading

import httpx
import openai
import psutil
import pytest

from fettle_platform.datasets.models import File

ROW = json.dumps({"messages": [{"role": "user", "content": "1 + 1?"}], "answer": "2"}).encode() + b"\n"
MB = 1024 * 1024


def test_files_from_beginning_to_end(openai_client):
    made = openai_client.files.create(
        file=("train.jsonl", ROW * 3), purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert (made.object, made.bytes, made.purpose) == ("file", 3 * len(ROW), "fine-tune")
    assert made.expires_at - made.created_at in (3600, 3601)
    assert openai_client.files.wait_for_processing(made.id).status == "processed"
    assert [file.id for file in openai_client.files.list(purpose="fine-tune")] == [made.id]
    assert openai_client.files.content(made.id).read() == ROW * 3
    assert openai_client.files.delete(made.id).deleted is True
    with pytest.raises(openai.NotFoundError) as caught:
        openai_client.files.retrieve(made.id)
    assert caught.value.code == "not_found"
    assert caught.value.request_id.startswith("req_")


def test_the_client_walks_pages(openai_client):
    made = [openai_client.files.create(file=(f"{i}.txt", b"x"), purpose="evals").id for i in range(5)]
    assert [file.id for file in openai_client.files.list(limit=2)] == made[::-1]
    assert [file.id for file in openai_client.files.list(limit=2, order="asc")] == made


def test_errors_are_the_clients_own(openai_client):
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.files.create(file=("a.csv", b"x"), purpose="fine-tune")
    assert (caught.value.param, caught.value.code) == ("file", "invalid_file_format")
    with pytest.raises(openai.AuthenticationError) as caught:
        openai_client.with_options(api_key="fk_wrong").files.list()
    assert caught.value.code == "invalid_api_key"


def test_a_large_file_in_parts(openai_client):
    data = b"0123456789" * 300_000
    done = openai_client.uploads.upload_file_chunked(
        file=data, filename="a.bin", bytes=len(data), mime_type="application/octet-stream", purpose="user_data",
        part_size=MB, md5=hashlib.md5(data).hexdigest(),
    )  # fmt: skip
    assert done.status == "completed"
    assert openai_client.files.content(done.file.id).read() == data


def test_upload_and_download_take_constant_memory(http, openai_client):
    """128 MB up and down; both ends are this process, so what grows is what either holds."""
    size = 128 * MB
    process = psutil.Process()

    class Zeros(io.RawIOBase):
        left = size

        def readable(self):
            return True

        def read(self, length=-1):
            length = min(length if length >= 0 else self.left, self.left)
            self.left -= length
            return b"0" * length

    peak, stop = [0], threading.Event()

    def watch():
        while not stop.wait(0.01):
            peak[0] = max(peak[0], process.memory_info().rss)

    openai_client.files.list()
    before = process.memory_info().rss
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        response = http.post(
            "/v1/files", data={"purpose": "user_data"}, files={"file": ("big.bin", Zeros())}, timeout=300
        )
        assert response.status_code == 200, response.text
        received = 0
        with http.stream("GET", f"/v1/files/{response.json()['id']}/content") as download:
            assert download.headers["content-length"] == str(size)
            for piece in download.iter_bytes():
                received += len(piece)
    finally:
        stop.set()
        watcher.join()
    assert received == size == response.json()["bytes"]
    assert peak[0] - before < 48 * MB


def test_many_threads_write_at_once_without_a_locked_database(server, api_key):
    """Eight threads make and delete files; every answer is a success. SQLite allows one writer at a time."""
    failures = []

    def work(number):
        with httpx.Client(base_url=server, headers={"authorization": f"Bearer {api_key}"}, timeout=60) as client:
            for i in range(8):
                files = {"file": (f"{number}-{i}.jsonl", ROW)}
                made = client.post("/v1/files", data={"purpose": "fine-tune"}, files=files)
                answers = [made, client.get("/v1/files")]
                if i % 2:
                    answers.append(client.delete(f"/v1/files/{made.json()['id']}"))
                failures.extend(answer.text for answer in answers if answer.status_code != 200)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    assert File.objects.count() == 32


def test_concurrent_duplicates_have_one_effect(server, api_key):
    """Four threads send the same Idempotency-Key: one effect; the others get its answer or are told to wait."""
    statuses = []
    body = {"bytes": 1, "filename": "a", "mime_type": "b", "purpose": "evals"}
    headers = {"authorization": f"Bearer {api_key}", "idempotency-key": "same"}

    def send():
        statuses.append(httpx.post(f"{server}/v1/uploads", json=body, headers=headers, timeout=60).status_code)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    from fettle_platform.datasets.models import Upload

    assert Upload.objects.count() == 1
    assert set(statuses) <= {200, 409}
    assert 200 in statuses
