"""Every environment variable of the control plane, typed, read once; nothing else here reads the environment.

Code below `config` sees the result as `django.conf.settings.FETTLE`.
"""

from __future__ import annotations

import os
import re
import secrets
from functools import cache
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlsplit

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from fettle_graders.sandbox.tiers import Tier
from fettle_workers.egress import Network, parse_networks
from fettle_workers.egress.judge import JudgeUpstream

_MB = 1024 * 1024
_REFUSED_BROKERS = {
    "filesystem": "it loses messages: a file is removed when it is received, and read while half-written",
    "sqla": "it loses messages: a message whose worker died is never delivered again",
    "sqlalchemy": "it loses messages: a message whose worker died is never delivered again",
}


class EnvironmentInvalid(Exception):
    """The operator must act: a FETTLE_* variable has a value that cannot work."""


class Env(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="FETTLE_", extra="ignore", frozen=True, env_ignore_empty=True)

    data_dir: Path = Field(
        default_factory=lambda: user_data_path("fettle"), description="folder for database, store and secrets"
    )
    database_url: str = Field(default="", description="postgresql://... or sqlite:////file; empty: SQLite in data_dir")
    broker_url: str = Field(default="memory://", description="of Celery: memory://, redis://, rediss://, amqp://")
    store_url: str = Field(default="", description="file:///folder or s3://bucket/prefix; empty: data_dir/store")
    secret_key: SecretStr | None = Field(default=None, description="signs and hashes; empty: generated in data_dir")
    worker_token: SecretStr | None = Field(
        default=None, description="shared with the workers; empty: generated in data_dir"
    )
    bootstrap_api_key: SecretStr | None = Field(default=None, description="first API key, fk_ and up to 200 characters")
    inference_url: str | None = Field(default=None, description="OpenAI-compatible upstream, without the final /v1")
    models_file: Path | None = Field(default=None, description="models.toml, the catalogue of base models")
    judges: tuple[JudgeUpstream, ...] = Field(
        default=(),
        description='judge models elsewhere: [{"base_url": "https://.../v1", "api_key": "...", "models": ["..."]}]',
    )
    sandbox_min_tier: Tier = Field(
        default="lockdown", description="the weakest sandbox that may run graders' code: namespaces or lockdown"
    )
    egress_allow: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="networks that endpoint graders may call although they are not public, such as 10.1.0.0/16",
    )
    allowed_hosts: Annotated[list[str], NoDecode] = Field(
        default=["localhost", "127.0.0.1", "[::1]"], description="host names answered to, separated by commas"
    )
    lease_s: float = Field(default=30.0, gt=0, le=3600, description="a running job without heartbeat is lost after it")
    max_file_bytes: int = Field(default=512 * _MB, gt=0)
    max_upload_bytes: int = Field(default=8192 * _MB, gt=0, description="of one upload in parts, all parts together")
    max_part_bytes: int = Field(default=64 * _MB, gt=0)
    max_json_bytes: int = Field(default=16 * _MB, gt=0, description="of any other request body")
    max_rows: int = Field(default=1_000_000, gt=0, description="rows of one fine-tune file")
    max_line_bytes: int = Field(default=4 * _MB, gt=0, description="one row of a fine-tune file")
    log_file: Path | None = Field(default=None, description="empty: standard error; `fettle up` logs to its data_dir")
    debug: bool = Field(default=False, description="log more; answers never contain internals")

    @field_validator("data_dir", "models_file", "log_file")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @field_validator("allowed_hosts", "egress_allow", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("egress_allow")
    @classmethod
    def _readable_networks(cls, texts: list[str]) -> list[str]:
        parse_networks(texts)
        return texts

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: str) -> str:
        scheme = urlsplit(url).scheme
        if url and scheme not in ("postgresql", "postgres", "sqlite"):
            raise ValueError("expected postgresql://user:password@host:5432/name or sqlite:////absolute/file")
        if scheme == "sqlite" and not urlsplit(url).path.startswith("//"):
            raise ValueError("expected sqlite:// and an absolute path, four slashes in all: sqlite:////data/fettle.db")
        return url

    @field_validator("broker_url")
    @classmethod
    def _safe_broker(cls, url: str) -> str:
        kind = urlsplit(url).scheme.split("+")[0]
        if kind in _REFUSED_BROKERS:
            raise ValueError(
                f"the broker {kind}:// is refused, because {_REFUSED_BROKERS[kind]}; use memory:// (one process), "
                "redis:// or amqp://"
            )
        if not kind or ":" not in url:
            raise ValueError(
                "expected an address such as memory://, redis://host:6379/0 or amqp://user:password@host//"
            )
        return url

    @field_validator("store_url")
    @classmethod
    def _known_store(cls, url: str) -> str:
        if url and urlsplit(url).scheme not in ("file", "s3"):
            raise ValueError("expected file:///absolute/folder or s3://bucket/prefix")
        return url

    @field_validator("inference_url")
    @classmethod
    def _http(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise ValueError("expected an address such as http://127.0.0.1:8001")
        return url.rstrip("/").removesuffix("/v1")

    @field_validator("bootstrap_api_key")
    @classmethod
    def _shaped_key(cls, key: SecretStr | None) -> SecretStr | None:
        text = "" if key is None else key.get_secret_value()
        if key is not None and not re.fullmatch(r"fk_[A-Za-z0-9_-]{4,200}", text):
            raise ValueError(
                "expected fk_ followed by 4 to 200 letters, digits, '_' or '-' (32 random ones to be safe)"
            )
        return key

    @property
    def egress_networks(self) -> tuple[Network, ...]:
        return parse_networks(self.egress_allow)

    @property
    def resolved_database_url(self) -> str:
        return self.database_url or f"sqlite:///{quote(str(self.data_dir / 'fettle.sqlite3'))}"

    @property
    def resolved_store_url(self) -> str:
        return self.store_url or f"file://{quote(str(self.data_dir / 'store'))}"

    @property
    def temporary_dir(self) -> Path:
        """Where request bodies wait: next to the data, because /tmp is memory on many systems."""
        return self.data_dir / "tmp"

    def prepare_folders(self) -> None:
        """Make the data folder. Called by whatever starts a process, never by reading settings."""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.temporary_dir.mkdir(exist_ok=True)
        except OSError as error:
            raise EnvironmentInvalid(
                f"FETTLE_DATA_DIR: cannot use the folder {self.data_dir}: {error.strerror}; "
                "name a folder that can be written"
            ) from error

    def resolved_secret_key(self) -> str:
        return self._secret(self.secret_key, "secret_key")

    def resolved_worker_token(self) -> str:
        return self._secret(self.worker_token, "worker_token")

    def _secret(self, given: SecretStr | None, name: str) -> str:
        """The given value, or the one kept in the data folder, made on first use with mode 0600."""
        if given is not None:
            return given.get_secret_value()
        path = self.data_dir / name
        if not path.exists():
            self.prepare_folders()
            fresh = path.with_name(f".{name}-{secrets.token_hex(8)}")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as sink:
                sink.write(secrets.token_urlsafe(48))
            try:
                os.link(fresh, path)  # of two processes that start at once, one wins and both read its value
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        return path.read_text("utf-8").strip()


@cache
def load_env() -> Env:
    """Read the environment.

    Raises:
        EnvironmentInvalid: names each wrong variable, what was expected, and what was found unless it is a secret.
    """
    try:
        return Env()
    except ValidationError as error:
        lines = [_describe(problem) for problem in error.errors()]
        raise EnvironmentInvalid("Fettle cannot start:\n" + "\n".join(f"  {line}" for line in lines)) from None


def _describe(problem: object) -> str:
    name = str(problem["loc"][0])  # type: ignore[index]  # pydantic's ErrorDetails
    found = problem["input"]  # type: ignore[index]
    message = str(problem["msg"]).removeprefix("Value error, ")  # type: ignore[index]
    # Addresses may hold passwords, and keys are secrets.
    is_shown = not name.endswith(("_url", "_key", "_token", "judges"))
    return f"FETTLE_{name.upper()}: {message}" + (f" (found {found!r})" if is_shown else "")
