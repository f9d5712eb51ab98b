"""Every environment variable the workers read, typed, in one place."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from platformdirs import user_data_path
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class WorkerSettings(BaseSettings):
    """What a worker host needs to know. It holds no database password and no user's API key."""

    model_config = SettingsConfigDict(env_prefix="FETTLE_", frozen=True, extra="ignore")

    control_plane_url: str = Field(default="http://127.0.0.1:8000", description="address of `fettle serve`")
    worker_token: str = Field(default="", description="shared with the control plane; empty: the data folder's file")
    broker_url: str = "memory://"
    data_dir: Path = Field(default_factory=lambda: user_data_path("fettle"))
    store_url: str = Field(default="", description="empty: a folder below the data folder")
    work_dir: Path | None = Field(default=None, description="scratch space of running jobs; empty: in the data folder")
    models_file: Path | None = Field(default=None, description="catalogue of base models (models.toml)")
    threads: int = Field(default=1, ge=1, description="torch threads; two collapse beside another busy process")
    heartbeat_s: float = Field(default=2.0, gt=0, description="also how soon pause and cancel are seen")
    preempt_grace_s: float = Field(default=60.0, gt=0, description="from the wish to stop until the trainer is killed")

    @property
    def shared_token(self) -> str:
        """Raises FileNotFoundError where neither the variable nor the control plane's file is there."""
        return self.worker_token or (self.data_dir / "worker_token").read_text("utf-8").strip()

    @property
    def store_address(self) -> str:
        return self.store_url or f"file://{(self.data_dir / 'store').absolute()}"

    @property
    def scratch(self) -> Path:
        return (self.work_dir or self.data_dir / "work").absolute()


@cache
def worker_settings() -> WorkerSettings:
    """Read once. Raises pydantic's ValidationError, which names each variable that is wrong."""
    return WorkerSettings()
