"""Fixtures of every platform test. It runs on SQLite, and on PostgreSQL with FETTLE_DATABASE_URL=postgresql://... ."""

import json
import os
import re
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from pydantic import SecretStr
from rest_framework.test import APIClient

_ID = re.compile(r"\b(file-|upload_|part_|ftjob-|ftevent-|ftckpt_|org-|proj_|key_|cp_|req_)[0-9A-Za-z]{24}")
_TIMES = {"created_at", "expires_at", "finished_at", "created"}


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory):
    """A database of this process alone: on SQLite a file, as in real life, because threads have to share it."""
    from django.conf import settings

    database = settings.DATABASES["default"]
    if "sqlite" in database["ENGINE"]:
        database["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")
    else:
        database["TEST"]["NAME"] = f"test_fettle_{os.getpid()}"


@pytest.fixture(autouse=True)
def fettle_env(settings, tmp_path):
    """The environment with a data folder of this test alone."""
    fresh = {
        "data_dir": tmp_path / "data",
        "store_url": "",
        "secret_key": SecretStr("a secret of the tests"),
        "worker_token": SecretStr("a worker token of the tests"),
        "bootstrap_api_key": None,
    }
    settings.FETTLE = settings.FETTLE.model_copy(update=fresh)
    settings.FETTLE.prepare_folders()
    return settings.FETTLE


@pytest.fixture
def change_env(settings, fettle_env):
    """`change_env(max_file_bytes=10)` for the rest of the test."""

    def change(**values):
        settings.FETTLE = settings.FETTLE.model_copy(update=values)

    return change


@pytest.fixture
def tenant(db):
    """`tenant("acme")` makes an organization with a project and a key: (scope, key)."""
    from fettle_platform.accounts.models import Organization, Project
    from fettle_platform.accounts.scoping import Scope
    from fettle_platform.accounts.services import api_key_create

    def make(name):
        organization = Organization.objects.create(name=name)
        project = Project.objects.create(organization=organization, name="default")
        row, key = api_key_create(project=project, name="test")
        return Scope(organization, project, row), key

    return make


@pytest.fixture
def acme(tenant):
    return tenant("acme")


@pytest.fixture
def scope(acme):
    return acme[0]


@pytest.fixture
def api_key(acme):
    return acme[1]


@pytest.fixture
def other(tenant):
    return tenant("other")


@pytest.fixture
def api(api_key):
    """A client with the key of `scope`."""
    return _client(api_key)


@pytest.fixture
def foreign_api(other):
    """A client of another organization."""
    return _client(other[1])


@pytest.fixture
def anonymous():
    return _client(None)


def _client(key):
    client = APIClient(raise_request_exception=False, headers={"host": "localhost"})
    if key:
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    return client


@pytest.fixture
def golden(request):
    """`golden("file", data)` compares with `golden/file.json` beside the test; UPDATE_GOLDEN=1 writes it."""

    def check(name, data):
        path = Path(request.path).parent / "golden" / f"{name}.json"
        stable = _stable(data)
        if os.environ.get("UPDATE_GOLDEN"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(stable, indent=2, ensure_ascii=False) + "\n")
        # PostgreSQL keeps JSON objects without the order of their keys.
        assert stable == json.loads(path.read_text())

    return check


def _stable(value, key=""):
    if isinstance(value, dict):
        return {name: _stable(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_stable(inner) for inner in value]
    if isinstance(value, str):
        return _ID.sub(r"\1<id>", value)
    return 0 if key in _TIMES and isinstance(value, int) else value


@pytest.fixture
def error_of():
    """`error_of(response, 400)` checks status and envelope and gives the error."""

    def check(response, status):
        body = response.json()
        assert response.status_code == status, body
        assert set(body) == {"error"}
        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert body["error"]["message"]
        assert response.headers["x-request-id"]
        return body["error"]

    return check


@contextmanager
def _serving(application):
    config = uvicorn.Config(application, host="127.0.0.1", port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def server(transactional_db, settings, fettle_env):
    """The real ASGI application behind uvicorn; gives its address."""
    from django.core.asgi import get_asgi_application

    from fettle_platform.core.body_limit import BodyLimit

    with _serving(BodyLimit(get_asgi_application(), settings.FETTLE)) as address:
        yield address


@pytest.fixture
def http(server, api_key):
    with httpx.Client(base_url=server, headers={"authorization": f"Bearer {api_key}"}, timeout=60) as client:
        yield client


@pytest.fixture
def openai_client(server, api_key):
    """The official client, unchanged."""
    import openai

    with openai.OpenAI(base_url=f"{server}/v1", api_key=api_key, max_retries=0) as client:
        yield client
