"""What only a real S3 server answers: the simulated one accepts every key and secret."""

import boto3
import pytest

from fettle_workers.store import StoreUnavailable, open_store

pytestmark = pytest.mark.real_s3


@pytest.fixture
def environment(ceph, monkeypatch):
    ceph.set_environment(monkeypatch)
    return monkeypatch


@pytest.mark.parametrize(
    ("variable", "refusal"),
    [("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch"), ("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId")],
)
def test_wrong_credentials_say_unavailable_and_never_missing(ceph, environment, variable, refusal):
    address = f"s3://{ceph.bucket}/credentials"
    open_store(address).put("k", b"x")
    environment.setenv(variable, "wrong")
    environment.setattr(boto3, "DEFAULT_SESSION", None)
    store = open_store(address)
    for operation in (
        lambda: store.put("k", b"y"),
        lambda: store.put("other", b"y", only_if_absent=True),
        lambda: store.open("k"),
        lambda: store.delete("k"),
        lambda: list(store.list("")),
    ):
        with pytest.raises(StoreUnavailable, match=refusal):
            operation()
    # The answer to HEAD has no body, so it cannot say more.
    with pytest.raises(StoreUnavailable, match="403"):
        store.exists("k")


def test_a_bucket_that_is_not_there_says_unavailable(environment):
    with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
        open_store("s3://no-such-bucket/p").put("k", b"x")
    with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
        open_store("s3://no-such-bucket/p").open("k")
