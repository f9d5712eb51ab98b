"""What every `auto` of a job that does not exist yet would become: asked of the model server, which has its model."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from fettle_workers.contract.frozen import Frozen

MAX_FILE_BYTES = 64 * 2**20  # of both files together: larger ones take longer to read than one waits
PROBE_S = 20.0  # the base's answers to some training rows must be there by then


class ForeseenPlan(Frozen):
    plan: dict[str, Any] = Field(
        description="what the job will store; null where only the job itself, or a preflight, can say"
    )
    reasons: dict[str, str] = Field(description="by name of the hyperparameter, for those that are `auto`")
    warnings: tuple[str, ...] = ()
