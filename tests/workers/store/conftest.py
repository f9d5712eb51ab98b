import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from fettle_workers.store import open_store

CEPH_START_S = 120


@dataclass(frozen=True)
class S3:
    """An S3 server on loopback with one bucket."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str = "fettle-test"

    @property
    def environment(self):
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def create_bucket(self):
        with pytest.MonkeyPatch.context() as patch:
            self.set_environment(patch)
            boto3.client("s3").create_bucket(Bucket=self.bucket)

    def set_environment(self, patch):
        patch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps the credentials it has read
        for name, value in self.environment.items():
            patch.setenv(name, value)


@pytest.fixture(scope="session")
def moto():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    s3 = S3(f"http://{host}:{port}", "test", "test")
    s3.create_bucket()
    yield s3
    server.stop()


@pytest.fixture(scope="session")
def ceph():
    """Ceph's S3 gateway with one monitor and one disk in memory, all on loopback, everything in a temporary folder."""
    for program in ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph"):
        assert shutil.which(program), f"{program} is missing: apt-get install radosgw ceph-mon ceph-osd ceph-common"
    folder = Path(tempfile.mkdtemp(prefix="fettle-ceph-", dir="/tmp"))  # sockets refuse long paths
    running = []
    try:
        s3 = start_ceph(folder, running)
        s3.create_bucket()
        yield s3
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(folder)


def start_ceph(folder, running):
    fsid, osd_id = str(uuid.uuid4()), str(uuid.uuid4())
    mon_port, s3_port = free_port(), free_port()
    (folder / "ceph.conf").write_text(ceph_conf(folder, fsid, mon_port, s3_port))
    (folder / "osd").mkdir()
    environment = os.environ | {"CEPH_CONF": str(folder / "ceph.conf")}

    def call(*command):
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=CEPH_START_S, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
        return done.stdout

    def start(*command):
        with (folder / f"{command[0]}.log").open("w") as log:
            running.append(subprocess.Popen([*command, "-f"], cwd=folder, env=environment, stdout=log, stderr=log))

    call("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon_port}]", "monmap")
    call("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap")
    start("ceph-mon", "-i", "a")
    call("ceph", "--connect-timeout", "60", "osd", "new", osd_id, "0")
    call("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", osd_id)
    start("ceph-osd", "-i", "0")
    start("radosgw", "-n", "client.rgw")
    made = ("--uid", "fettle", "--display-name", "Fettle", "--access-key", "fettle", "--secret-key", "fettle-secret")
    call("radosgw-admin", "-n", "client.rgw", "user", "create", *made)
    endpoint = f"http://127.0.0.1:{s3_port}"
    wait_for_answer(endpoint, running)
    return S3(endpoint, "fettle", "fettle-secret")


def ceph_conf(folder, fsid, mon_port, s3_port):
    settings = {
        "fsid": fsid,
        "mon host": f"[v2:127.0.0.1:{mon_port}]",
        "public addr": "127.0.0.1",
        "run dir": folder,
        "admin socket": "",
        "log file": "",
        "log to stderr": "true",
        "mon data": folder / "mon",
        "osd data": folder / "osd",
        "rgw data": folder / "rgw",
        "osd objectstore": "memstore",
        "memstore device bytes": 2**30,
        "osd pool default size": 1,
        "osd pool default min size": 1,
        "osd pool default pg num": 1,
        "osd pool default pg autoscale mode": "off",
        "osd crush chooseleaf type": 0,
        "mon allow pool size one": "true",
        "rgw frontends": f"beast endpoint=127.0.0.1:{s3_port}",
    }
    settings |= {f"auth {side} required": "none" for side in ("cluster", "service", "client")}
    # The default, `secure`, needs the keys that `none` does without: every connection would hang.
    modes = ("cluster", "service", "client", "mon cluster", "mon service", "mon client")
    settings |= {f"ms {side} mode": "crc" for side in modes}
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def wait_for_answer(url, running):
    deadline = time.monotonic() + CEPH_START_S
    while time.monotonic() < deadline:
        ended = [process.args[0] for process in running if process.poll() is not None]
        assert not ended, f"{ended[0]} ended while Ceph started"
        with contextlib.suppress(httpx.TransportError):
            httpx.get(url, timeout=5)
            return
        time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


S3_SERVERS = ["moto", pytest.param("ceph", marks=pytest.mark.real_s3)]


@pytest.fixture(params=["folder", *S3_SERVERS])
def store(request, tmp_path, monkeypatch):
    if request.param == "folder":
        return open_store(f"file://{tmp_path}/store")
    return s3_store(request, monkeypatch)


@pytest.fixture(name="s3_store", params=S3_SERVERS)
def s3_store_fixture(request, monkeypatch):
    return s3_store(request, monkeypatch)


def s3_store(request, monkeypatch):
    s3 = request.getfixturevalue(request.param)
    s3.set_environment(monkeypatch)
    return open_store(f"s3://{s3.bucket}/some/prefix/{uuid.uuid4().hex}")
