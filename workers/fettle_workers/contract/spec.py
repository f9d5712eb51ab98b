"""The training job as the control plane freezes it: everything a trainer needs, nothing it has to ask for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from fettle_graders.spec import GraderSpec
from fettle_workers.contract.frozen import Frozen
from fettle_workers.contract.preflight import PreflightSettings, Step0Ref

Auto = Literal["auto"]


class ReinforcementHyperparameters(Frozen):
    """The user-visible training fields. Every one is `auto` unless set; the resolved plan is stored and shown."""

    # On the OpenAI wire.
    n_epochs: Auto | Annotated[int, Field(ge=1, le=10_000)] = "auto"
    batch_size: Auto | Annotated[int, Field(ge=1, le=256)] = "auto"
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, le=1000)] = "auto"
    compute_multiplier: Auto | Annotated[float, Field(gt=0.00001, le=10)] = "auto"
    eval_interval: Auto | Annotated[int, Field(ge=1)] = "auto"
    eval_samples: Auto | Annotated[int, Field(ge=1, le=256)] = "auto"
    reasoning_effort: Literal["default", "low", "medium", "high"] = "default"
    # Fettle's own.
    group_size: Auto | Annotated[int, Field(ge=2, le=256)] = "auto"
    max_completion_tokens: Auto | Annotated[int, Field(ge=1)] = "auto"
    temperature: Auto | Annotated[float, Field(gt=0, le=2)] = "auto"
    lora_rank: Auto | Literal[8, 16, 32, 64, 128] = "auto"
    updates_per_rollout: Auto | Annotated[int, Field(ge=1, le=4)] = "auto"
    kl_coef: Auto | Annotated[float, Field(ge=0, le=10)] = "auto"
    length_penalty: Auto | Annotated[float, Field(ge=0, le=1)] = "auto"
    max_steps: Auto | Annotated[int, Field(ge=1)] = "auto"
    early_stopping: Auto | bool = "auto"


class SupervisedHyperparameters(Frozen):
    """The fields of supervised tuning, as on the OpenAI wire, and three of Fettle's own."""

    n_epochs: Auto | Annotated[int, Field(ge=1, le=10_000)] = "auto"
    batch_size: Auto | Annotated[int, Field(ge=1, le=256)] = "auto"
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, le=1000)] = "auto"
    lora_rank: Auto | Literal[8, 16, 32, 64, 128] = "auto"
    eval_interval: Auto | Annotated[int, Field(ge=1)] = "auto"
    max_steps: Auto | Annotated[int, Field(ge=1)] = "auto"


class ReinforcementMethod(Frozen):
    type: Literal["reinforcement"] = "reinforcement"
    grader: GraderSpec
    response_format: dict[str, Any] | None = None
    hyperparameters: ReinforcementHyperparameters = ReinforcementHyperparameters()


class SupervisedMethod(Frozen):
    type: Literal["supervised"] = "supervised"
    hyperparameters: SupervisedHyperparameters = SupervisedHyperparameters()


Method = Annotated[ReinforcementMethod | SupervisedMethod, Field(discriminator="type")]


class DataRef(Frozen):
    """A JSON Lines file in the store. Whoever downloads it checks size and digest."""

    file_id: str
    key: str
    sha256: str
    size_bytes: int


class AdapterRef(Frozen):
    """An adapter to continue from: files below `adapters/<digest>/` in the store."""

    digest: str


class TrainSpec(Frozen):
    job_id: str
    base_model: str = Field(description="id in the catalogue of base models")
    init_adapter: AdapterRef | None = None
    method: Method
    seed: int = Field(ge=0, le=2**31 - 1)
    training_file: DataRef
    validation_file: DataRef | None = None
    validation_split: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="share of the training rows held out, when there is no validation file"
    )
    preflight: PreflightSettings | None = Field(default=None, description="only look at the base, train nothing")
    step0: Step0Ref | None = Field(default=None, description="answers of a preflight, for the evaluation at step 0")
