"""What a request can fail with, and the one place where that becomes a status code and the wire's envelope."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError


class ServingError(Exception):
    """A request fails. The class says with which status; `code` is stable, the message may improve."""

    status = 500
    type = "server_error"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param

    def body(self) -> dict[str, Any]:
        return {"error": {"message": str(self), "type": self.type, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        return {}


class BadRequest(ServingError):
    """The caller must change the request."""

    status, type = 400, "invalid_request_error"


class UnknownModel(ServingError):
    """No base model and no adapter of that name."""

    status, type = 404, "invalid_request_error"

    def __init__(self, name: str) -> None:
        super().__init__(f"the model {name!r} does not exist", code="model_not_found", param="model")


class ModelBroken(ServingError):
    """The operator must act: the files of a model are missing, damaged, or not what Fettle loads."""


class Overloaded(ServingError):
    """Try again later: the queue is full or the store does not answer."""

    status = 503

    @property
    def headers(self) -> dict[str, str]:
        return {"retry-after": "1"}


def bad_request(error: ValidationError) -> BadRequest:
    """The first complaint of pydantic in the wire's words."""
    first = error.errors(include_url=False)[0]
    param = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("function-", "list[", "dict[")))
    if first["type"] == "missing":
        return BadRequest(f"missing required parameter: {param}", code="missing_required_parameter", param=param)
    message = first["msg"].removeprefix("Value error, ")
    return BadRequest(f"{param}: {message}" if param else message, code="invalid_value", param=param or None)
