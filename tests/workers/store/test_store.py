"""One suite for every store."""

import hashlib
import io
import threading

import boto3
import pytest

from fettle_workers.store import BlobCorrupt, BlobExists, BlobMissing, StoreUnavailable, download, open_store
from fettle_workers.store.s3 import S3Store


def test_what_was_put_is_what_is_read(store):
    blob = store.put("a/b.bin", b"hello")
    assert (blob.size_bytes, blob.sha256) == (5, hashlib.sha256(b"hello").hexdigest())
    with store.open("a/b.bin") as stream:
        assert stream.read() == b"hello"
    assert store.size("a/b.bin") == 5


def test_a_put_replaces_the_whole_blob(store):
    store.put("k", b"a long first version")
    store.put("k", b"short")
    with store.open("k") as stream:
        assert stream.read() == b"short"


def test_a_stream_of_many_parts_keeps_its_digest(store):
    data = bytes(range(256)) * 80_000  # 20 MB: more than one S3 part
    blob = store.put("big", io.BytesIO(data))
    assert blob.size_bytes == len(data)
    assert blob.sha256 == hashlib.sha256(data).hexdigest()
    with store.open("big") as stream:
        assert hashlib.sha256(stream.read()).hexdigest() == blob.sha256


class BreaksOff:
    """A stream that fails after `size_bytes`, as an upload whose client went away."""

    def __init__(self, size_bytes):
        self.left = size_bytes

    def read(self, size=-1):
        if self.left <= 0:
            raise OSError("the client went away")
        given = b"n" * (self.left if size < 0 else min(size, self.left))
        self.left -= len(given)
        return given


def test_a_put_that_breaks_off_leaves_the_blob_as_it_was(store):
    store.put("k", b"before")
    with pytest.raises(StoreUnavailable, match="went away"):
        store.put("k", BreaksOff(20_000_000))  # fails in the second S3 part
    with store.open("k") as stream:
        assert stream.read() == b"before"
    assert list(store.list("")) == ["k"]


def test_a_put_to_s3_that_breaks_off_leaves_no_parts_behind(s3_store):
    with pytest.raises(StoreUnavailable, match="went away"):
        s3_store.put("k", BreaksOff(20_000_000))
    client = boto3.client("s3")
    assert "Uploads" not in client.list_multipart_uploads(Bucket=s3_store.bucket, Prefix="some/prefix")


def test_a_list_of_more_than_one_page_is_whole(s3_store):
    for key in "abcde":
        s3_store.put(key, b"")
    client = boto3.client("s3")
    pages = []
    client.meta.events.register("provide-client-params.s3.ListObjectsV2", lambda params, **_: params | {"MaxKeys": 2})
    client.meta.events.register("after-call.s3.ListObjectsV2", lambda **_: pages.append(1))
    paged = S3Store(s3_store.bucket, s3_store._prefix.rstrip("/"), client)
    assert list(paged.list("")) == list("abcde")
    assert len(pages) == 3


def test_only_one_of_many_writers_gets_an_absent_key(store):
    outcomes = []

    def write(index):
        try:
            store.put("manifest.json", str(index).encode(), only_if_absent=True)
            outcomes.append("won")
        except BlobExists:
            outcomes.append("lost")

    threads = [threading.Thread(target=write, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost"] * 7 + ["won"]


def test_missing_blobs_are_told_apart(store):
    assert not store.exists("nothing")
    with pytest.raises(BlobMissing):
        store.open("nothing")
    with pytest.raises(BlobMissing):
        store.size("nothing")
    store.delete("nothing")


def test_list_is_sorted_and_by_prefix(store):
    for key in ("x/2", "x/1", "x-other", "y/1"):
        store.put(key, b".")
    assert list(store.list("x/")) == ["x/1", "x/2"]
    assert list(store.list("x")) == ["x-other", "x/1", "x/2"]
    store.delete("x/1")
    assert list(store.list("x/")) == ["x/2"]


@pytest.mark.parametrize("key", ["", "/etc/passwd", "a/../b", "a//b", "."])
def test_keys_that_could_leave_the_store_are_refused(store, key):
    with pytest.raises(ValueError, match="store key"):
        store.put(key, b"")


def test_download_checks_size_and_digest(store, tmp_path):
    blob = store.put("w", b"weights")
    download(store, "w", tmp_path / "in" / "w", sha256=blob.sha256, size_bytes=7)
    assert (tmp_path / "in" / "w").read_bytes() == b"weights"
    store.put("w", b"wEights")
    with pytest.raises(BlobCorrupt, match="recorded were 7 bytes"):
        download(store, "w", tmp_path / "w2", sha256=blob.sha256, size_bytes=7)
    assert not (tmp_path / "w2").exists()


def test_a_full_or_unwritable_disk_says_unavailable(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = open_store(f"file://{tmp_path}/file/store")
    with pytest.raises(StoreUnavailable):
        store.put("k", b"x")


def test_a_store_that_is_away_says_unavailable(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreUnavailable, match="bucket"):
        open_store("s3://bucket/p").put("k", b"x")


def test_other_addresses_are_refused():
    with pytest.raises(ValueError, match="expected file:///folder or s3://bucket/prefix"):
        open_store("ftp://somewhere")
