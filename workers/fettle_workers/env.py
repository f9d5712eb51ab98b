"""Every environment variable the workers read, typed, in one place."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from platformdirs import user_data_path
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from fettle_graders.sandbox.tiers import Tier
from fettle_workers.egress import parse_networks
from fettle_workers.egress.judge import JudgeUpstream


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
    judges: tuple[JudgeUpstream, ...] = Field(
        default=(),
        description="judge models of jobs that run without a control plane; others ask through it",
    )
    sandbox_min_tier: Tier = Field(
        default="lockdown", description="the weakest sandbox that may run graders' code: namespaces or lockdown"
    )
    egress_allow: Annotated[list[str], NoDecode] = Field(
        default=[],
        description="networks that endpoint graders may call although they are not public, such as 10.1.0.0/16",
    )
    threads: int = Field(default=1, ge=1, description="torch threads; two collapse beside another busy process")
    trainer_processes: int | None = Field(
        default=None, ge=1, description="that train one job together; empty: one a visible GPU, or a single one"
    )
    trainer_parallelism: Literal["auto", "ddp", "fsdp"] = Field(
        default="auto",
        description="of several: each holds the whole base (ddp) or a part (fsdp); auto: ddp where the base fits",
    )
    vllm_python: Path | None = Field(
        default=None,
        description="`python` of an environment with vLLM, which then samples; empty: Fettle's own sampler",
    )
    vllm_memory_share: float = Field(default=0.4, gt=0, lt=1, description="of the GPU's memory, for vLLM")
    heartbeat_s: float = Field(default=2.0, gt=0, description="also how soon pause and cancel are seen")
    preempt_grace_s: float = Field(default=60.0, gt=0, description="from the wish to stop until the trainer is killed")
    silence_limit_s: float = Field(
        default=6 * 3600.0, gt=0, description="a trainer that told nothing for so long hangs: longer than any step"
    )

    @field_validator("egress_allow", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("egress_allow")
    @classmethod
    def _readable_networks(cls, texts: list[str]) -> list[str]:
        parse_networks(texts)
        return texts

    @field_validator("vllm_python")
    @classmethod
    def _program(cls, path: Path | None) -> Path | None:
        if path is not None and not (path.is_file() and os.access(path, os.X_OK)):
            raise ValueError(f"{path} is no program; expected the `python` of an environment with vLLM")
        return path

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
    """Read once. A process with a wrong variable ends here and says which; values are not told, some are secret."""
    try:
        return WorkerSettings()
    except ValidationError as error:
        wrong = [(str(one["loc"][0]), one["msg"].removeprefix("Value error, ")) for one in error.errors()]
        lines = [f"  FETTLE_{name.upper()}: {message}" for name, message in wrong]
        raise SystemExit("\n".join(["The worker cannot start:", *lines])) from None
