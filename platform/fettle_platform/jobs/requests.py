"""The body of `POST /v1/fine_tuning/jobs`: read strictly, so that a typo is an error and never a default.

`parse_job_request` returns the contract's own method types; whatever it refuses names the field by its dotted path.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from fettle_graders.errors import GraderSpecError
from fettle_graders.spec import GraderSpec, parse_grader, unsupported
from fettle_platform.core.errors import InvalidRequest
from fettle_platform.graders.services import services_of_jobs
from fettle_workers.contract.frozen import Frozen
from fettle_workers.contract.spec import (
    Method,
    ReinforcementHyperparameters,
    ReinforcementMethod,
    SupervisedHyperparameters,
    SupervisedMethod,
)

M = TypeVar("M", bound=BaseModel)

METHODS = ("reinforcement", "supervised")

ShortText = Annotated[str, Field(min_length=1, max_length=512)]


class Wandb(Frozen):
    project: ShortText
    name: ShortText | None = None
    entity: ShortText | None = None
    tags: list[ShortText] | None = None


class Integration(Frozen):
    """Stored and echoed, so that existing scripts run; Fettle itself sends nothing to Weights & Biases."""

    type: Literal["wandb"]
    wandb: Wandb


class FettleOptions(Frozen):
    """What the wire has no name for."""

    validation_split: Annotated[float, Field(gt=0, lt=1)] | None = None
    preflight_id: Annotated[str, Field(min_length=1, max_length=64)] | None = None


class JobRequest(Frozen):
    """A valid request. `method` holds everything about how to train."""

    model: Annotated[str, Field(min_length=1, max_length=400)]
    training_file: Annotated[str, Field(min_length=1, max_length=64)]
    validation_file: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
        ]
        | None
    ) = None
    integrations: Annotated[list[Integration], Field(max_length=5)] | None = None
    fettle: FettleOptions = FettleOptions()


class ParsedJob(Frozen):
    request: JobRequest
    method: Method
    grader_version: str | None = None


def parse_job_request(data: object, *, grader_version: str | None = None) -> ParsedJob:
    """Check a decoded JSON body.

    Args:
        grader_version: of the stored grader that was put in the place of its id.

    Raises:
        InvalidRequest: with code and dotted `param`; the message says what was found and what is expected.
    """
    if not isinstance(data, Mapping):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_type")
    fields = {key: value for key, value in data.items() if not (key in ("fettle", "method") and value is None)}
    method_data = fields.pop("method", None)
    top_level = fields.pop("hyperparameters", None)
    request = read_model(JobRequest, fields)
    method = _parse_method(method_data, top_level)
    split = request.fettle.validation_split
    if request.validation_file and split is not None:
        raise InvalidRequest(
            "Both `validation_file` and `fettle.validation_split` are given; leave one out.",
            code="invalid_value",
            param="fettle.validation_split",
        )
    if method.type == "reinforcement" and not request.validation_file and split is None:
        raise InvalidRequest(
            "Reinforcement fine-tuning needs `validation_file`: held-out rows decide which checkpoint is delivered. "
            "Give a second file, or `fettle.validation_split` (such as 0.2) to hold out a share of the training rows.",
            code="missing_required_parameter",
            param="validation_file",
        )
    return ParsedJob(request=request, method=method, grader_version=grader_version)


def _parse_method(data: object, top_level: object) -> Method:
    if data is None:
        return SupervisedMethod(hyperparameters=_hyperparameters(SupervisedHyperparameters, top_level))
    if not isinstance(data, Mapping):
        raise InvalidRequest(
            f"`method` must be an object with `type`, found {_json_kind(data)}.", code="invalid_type", param="method"
        )
    kind = _method_type(data)
    unknown = sorted(key for key, value in data.items() if key not in ("type", kind) and value is not None)
    if unknown:
        raise _unknown(f"method.{unknown[0]}", ("type", kind))
    body = data.get(kind)
    if body is not None and not isinstance(body, Mapping):
        raise InvalidRequest(
            f"`method.{kind}` must be an object, found {_json_kind(body)}.",
            code="invalid_type",
            param=f"method.{kind}",
        )
    if kind == "reinforcement":
        if top_level:
            raise InvalidRequest(
                "Top-level `hyperparameters` are for supervised tuning; use `method.reinforcement.hyperparameters`.",
                code="invalid_value",
                param="hyperparameters",
            )
        return _reinforcement(body)
    return _supervised(body or {}, top_level)


def _method_type(data: Mapping[str, Any]) -> str:
    kind = data.get("type")
    if kind is None:
        raise InvalidRequest(
            f"`method.type` is missing; it is one of {_listed(METHODS)}.",
            code="missing_required_parameter",
            param="method.type",
        )
    if kind not in METHODS:
        found = kind if isinstance(kind, str) else _json_kind(kind)
        hint = " Preference tuning (`dpo`) is not offered here." if kind == "dpo" else ""
        raise InvalidRequest(
            f"`method.type` is {found!r}; it must be one of {_listed(METHODS)}.{hint}",
            code="invalid_value",
            param="method.type",
        )
    return str(kind)


def _supervised(body: Mapping[str, Any], top_level: object) -> SupervisedMethod:
    _refuse_unknown(body, ("hyperparameters",), "method.supervised")
    inner = body.get("hyperparameters")
    if inner and top_level:
        raise InvalidRequest(
            "`hyperparameters` and `method.supervised.hyperparameters` are both given; leave the first out.",
            code="invalid_value",
            param="hyperparameters",
        )
    path = "method.supervised.hyperparameters" if inner else "hyperparameters"
    return SupervisedMethod(hyperparameters=_hyperparameters(SupervisedHyperparameters, inner or top_level, path))


def _reinforcement(body: Mapping[str, Any] | None) -> ReinforcementMethod:
    path = "method.reinforcement"
    if body is None or body.get("grader") is None:
        missing = path if body is None else f"{path}.grader"
        raise InvalidRequest(f"`{missing}` is missing.", code="missing_required_parameter", param=missing)
    _refuse_unknown(body, ("grader", "hyperparameters", "response_format"), path)
    return ReinforcementMethod(
        grader=_grader(body["grader"], f"{path}.grader"),
        hyperparameters=_hyperparameters(
            ReinforcementHyperparameters, body.get("hyperparameters"), f"{path}.hyperparameters"
        ),
        response_format=_response_format(body.get("response_format"), f"{path}.response_format"),
    )


def _grader(data: object, path: str) -> GraderSpec:
    try:
        spec = parse_grader(data)
    except GraderSpecError as error:
        param = f"{path}.{error.param}" if error.param else path
        raise InvalidRequest(error.message, code="invalid_grader", param=param) from error
    reason = unsupported(spec, services_of_jobs())
    if reason:
        raise InvalidRequest(reason, code="unsupported_grader", param=path)
    return spec


def _response_format(data: object, path: str) -> dict[str, Any] | None:
    """The nested form of chat completions; the flat form is accepted and turned into it."""
    if data is None:
        return None
    kind = data.get("type") if isinstance(data, Mapping) else None
    if kind in ("text", "json_object"):
        _refuse_unknown(data, ("type",), path)  # type: ignore[arg-type]  # a Mapping: it has a type
        return {"type": kind}
    if kind != "json_schema":
        raise InvalidRequest(
            f"`{path}.type` must be one of 'text', 'json_object', 'json_schema'; found {kind!r}.",
            code="invalid_value",
            param=f"{path}.type",
        )
    inner = data.get("json_schema", {key: value for key, value in data.items() if key != "type"})  # type: ignore[union-attr]
    where = f"{path}.json_schema" if "json_schema" in data else path  # type: ignore[operator]
    if not isinstance(inner, Mapping) or not isinstance(inner.get("schema"), Mapping):
        raise InvalidRequest(
            f"`{where}.schema` must be a JSON schema (an object).", code="invalid_type", param=f"{where}.schema"
        )
    _refuse_unknown(inner, ("name", "description", "schema", "strict"), where)
    return {"type": "json_schema", "json_schema": {"name": "answer"} | dict(inner)}


def _hyperparameters(
    model: type[ReinforcementHyperparameters] | type[SupervisedHyperparameters],
    data: object,
    path: str = "hyperparameters",
) -> Any:  # of the given type
    if data is None:
        return model()
    if not isinstance(data, Mapping):
        raise InvalidRequest(f"`{path}` must be an object, found {_json_kind(data)}.", code="invalid_type", param=path)
    _refuse_unknown(data, tuple(model.model_fields), path)
    given = {key: value for key, value in data.items() if value is not None}
    try:
        return model.model_validate(given, strict=True)
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        expected = _in_words(model.model_json_schema()["properties"][field])
        raise InvalidRequest(
            f"`{path}.{field}` is {json.dumps(given[field])[:200]}; it must be {expected}.",
            code="invalid_value",
            param=f"{path}.{field}",
        ) from None


def read_model(model: type[M], data: Mapping[str, Any]) -> M:
    """Validate without conversions: "7" is not a number. The first problem becomes the error."""
    try:
        return model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        problem = error.errors()[0]
    path = ".".join(str(part) for part in problem["loc"])
    kind = problem["type"]
    if kind == "extra_forbidden":
        raise _unknown(path, tuple(model.model_fields))
    if kind == "missing":
        raise InvalidRequest(f"`{path}` is missing.", code="missing_required_parameter", param=path)
    code = "invalid_type" if kind.endswith("_type") else "invalid_value"
    message = problem["msg"][0].lower() + problem["msg"][1:]
    raise InvalidRequest(f"`{path}`: {message}.", code=code, param=path)


def _refuse_unknown(data: Mapping[str, Any], allowed: tuple[str, ...], path: str) -> None:
    for key, value in data.items():
        if key not in allowed and value is not None:
            raise _unknown(f"{path}.{key}", allowed)


def _unknown(path: str, allowed: tuple[str, ...]) -> InvalidRequest:
    near = difflib.get_close_matches(path.rsplit(".", 1)[-1], allowed, n=1)
    hint = f"Did you mean `{near[0]}`?" if near else f"Known here: {_listed(allowed)}."
    return InvalidRequest(f"Unknown parameter `{path}`. {hint}", code="unknown_parameter", param=path)


def _in_words(schema: Mapping[str, Any]) -> str:
    """A field of the hyperparameters, described by its JSON schema: `"auto" or an integer from 1 to 256`."""
    if "anyOf" in schema:
        return " or ".join(_in_words(option) for option in schema["anyOf"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(value) for value in schema["enum"])
    name = {"integer": "an integer", "number": "a number", "boolean": "true or false"}[schema["type"]]
    low = schema.get("minimum")
    above = schema.get("exclusiveMinimum")
    high = schema.get("maximum")
    bounds = f" of at least {low}" if low is not None else f" greater than {above}" if above is not None else ""
    return f"{name}{bounds}" + (f"{' and' if bounds else ''} at most {high}" if high is not None else "")


def _json_kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false", int: "a number"}
    return kinds.get(type(value), "null" if value is None else "a number")


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)
