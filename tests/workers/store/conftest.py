import boto3
import pytest
from moto.server import ThreadedMotoServer


@pytest.fixture(scope="session")
def s3_url():
    """An S3 bucket over HTTP on loopback; yields its store address with boto3's environment set."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3").create_bucket(Bucket="fettle-test")
        yield "s3://fettle-test/some/prefix"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    from fettle_workers.store import open_store

    if request.param == "folder":
        return open_store(f"file://{tmp_path}/store")
    url = request.getfixturevalue("s3_url")
    return open_store(f"{url}/{request.node.name.replace('[', '-').replace(']', '')}")
