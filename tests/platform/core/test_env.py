import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fettle_platform.config.database import django_database
from fettle_platform.config.env import Env, EnvironmentInvalid, load_env

ROOT = Path(__file__).parents[3]


@pytest.fixture
def read(monkeypatch, tmp_path):
    def read_env(**variables):
        monkeypatch.setenv("FETTLE_DATA_DIR", str(tmp_path))
        monkeypatch.delenv("FETTLE_DATABASE_URL", raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        load_env.cache_clear()
        try:
            return load_env()
        finally:
            load_env.cache_clear()

    return read_env


def test_defaults_lie_in_the_data_folder(read, tmp_path):
    env = read()
    assert env.resolved_database_url == f"sqlite:///{tmp_path}/fettle.sqlite3"
    assert env.resolved_store_url == f"file://{tmp_path}/store"
    assert env.broker_url == "memory://"
    assert env.lease_s == 30


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("FETTLE_BROKER_URL", "filesystem://", "loses messages"),
        ("FETTLE_BROKER_URL", "sqla+sqlite:///a.db", "loses messages"),
        ("FETTLE_BROKER_URL", "redis", "expected an address"),
        ("FETTLE_LEASE_S", "soon", "valid number"),
        ("FETTLE_LEASE_S", "0", "greater than 0"),
        ("FETTLE_DATABASE_URL", "mysql://a", "postgresql://"),
        ("FETTLE_DATABASE_URL", "sqlite://relative", "four slashes"),
        ("FETTLE_STORE_URL", "gs://bucket", "s3://bucket"),
        ("FETTLE_INFERENCE_URL", "localhost:8000", "http://"),
        ("FETTLE_BOOTSTRAP_API_KEY", "sk-1", "fk_"),
        ("FETTLE_DEBUG", "perhaps", "boolean"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected(read, name, value, says):
    with pytest.raises(EnvironmentInvalid) as caught:
        read(**{name: value})
    assert name in str(caught.value)
    assert says in str(caught.value)


def test_a_wrong_secret_is_not_repeated(read):
    with pytest.raises(EnvironmentInvalid) as caught:
        read(FETTLE_BOOTSTRAP_API_KEY="my-password", FETTLE_DATABASE_URL="mysql://user:password@host")
    assert "password" not in str(caught.value).replace("user:password@host:5432", "")


def test_hosts_are_a_list_and_the_upstream_is_named_without_v1(read):
    env = read(FETTLE_ALLOWED_HOSTS="a.example, b.example", FETTLE_INFERENCE_URL="http://127.0.0.1:1/v1/")
    assert env.allowed_hosts == ["a.example", "b.example"]
    assert env.inference_url == "http://127.0.0.1:1"


def test_secrets_are_made_once_and_only_the_owner_reads_them(tmp_path):
    env = Env(data_dir=tmp_path / "fresh")
    assert not (tmp_path / "fresh").exists()
    key = env.resolved_secret_key()
    assert len(key) >= 60
    assert env.resolved_secret_key() == key
    assert env.resolved_worker_token() != key
    assert stat.S_IMODE((tmp_path / "fresh" / "secret_key").stat().st_mode) == 0o600
    assert Env(data_dir=tmp_path / "fresh", secret_key="given").resolved_secret_key() == "given"


def test_reading_the_settings_writes_nothing(tmp_path):
    code = "import django; from django.conf import settings; settings.INSTALLED_APPS; django.setup()"
    environment = {
        "DJANGO_SETTINGS_MODULE": "fettle_platform.config.settings",
        "FETTLE_DATA_DIR": str(tmp_path / "fresh"),
    }
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
    assert not (tmp_path / "fresh").exists()


def test_manage_py_stops_with_the_reason():
    environment = {"FETTLE_BROKER_URL": "filesystem://"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "check"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Fettle cannot start:\n  FETTLE_BROKER_URL: the broker filesystem:// is refused")


def test_a_postgresql_address_is_taken_apart():
    database = django_database("postgresql://user:p%40ss@db.example:5433/name?sslmode=require")
    assert {key: database[key] for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT")} == {
        "NAME": "name",
        "USER": "user",
        "PASSWORD": "p@ss",
        "HOST": "db.example",
        "PORT": "5433",
    }
    assert database["OPTIONS"]["sslmode"] == "require"
    assert django_database("postgresql:///name?host=/run/postgresql")["HOST"] == "/run/postgresql"
