"""The errors a caller can meet, and the one place where an exception becomes a status code and the error envelope.

Usage: `raise InvalidRequest("seed is -1; expected 0 to 2147483647", param="seed")` anywhere, never a built response.
A pydantic error of user input: `raise invalid_from_pydantic(error, "method.reinforcement") from None`.

Status 409 is only for duplicates in flight (`InFlight`): the official client retries it, so a wrong state is a 400.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from django.core import exceptions as django_errors
from django.db import InterfaceError, OperationalError
from django.http import Http404
from pydantic import ValidationError as PydanticError
from rest_framework import exceptions as drf_errors
from rest_framework.response import Response

from fettle_workers.store import StoreUnavailable

log = logging.getLogger(__name__)


class FettleError(Exception):
    """Base of all errors that are answered in the envelope. `code` is stable, the message may improve."""

    status = 500
    type = "server_error"
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or type(self).code
        self.headers: dict[str, str] = {}


class InvalidRequest(FettleError):
    """The user must change the request. Codes in use: invalid_value, missing_required_parameter, unknown_parameter,
    invalid_type, invalid_json, invalid_state, file_not_found, model_not_available."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class Unauthorized(FettleError):
    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.headers = {"www-authenticate": "Bearer"}


class Forbidden(FettleError):
    status = 403
    type = "permission_error"
    code = "insufficient_permissions"


class NotFound(FettleError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"


class MethodNotAllowed(FettleError):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class InFlight(FettleError):
    """The same request is still being worked on; the client tries again by itself."""

    status = 409
    type = "invalid_request_error"
    code = "request_in_progress"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.headers = {"retry-after": "1"}


class Gone(FettleError):
    """Only on the internal API: the attempt is over."""

    status = 410
    type = "invalid_request_error"
    code = "attempt_over"


class PayloadTooLarge(FettleError):
    status = 413
    type = "invalid_request_error"
    code = "payload_too_large"


class UnsupportedMediaType(FettleError):
    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"


class RateLimited(FettleError):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after_s: float = 1) -> None:
        super().__init__(message)
        self.headers = {"retry-after": str(max(1, round(retry_after_s)))}


class UpstreamFailed(FettleError):
    """The model server answered with something that is not an answer."""

    status = 502
    code = "upstream_error"


class Unavailable(FettleError):
    """The operator must act, or it passes by itself: store, database or model server out of reach."""

    status = 503
    code = "service_unavailable"


class InternalError(FettleError):
    status = 500

    def __init__(self) -> None:
        super().__init__(
            "The server had an error while processing your request. The x-request-id names it in the logs."
        )


def envelope(error: FettleError) -> dict[str, Any]:
    body = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return {"error": body}


def exception_handler(exception: Exception, context: Mapping[str, Any]) -> Response:
    """REST framework's hook: every exception of every view ends here."""
    error = as_fettle_error(exception)
    if isinstance(error, InternalError):
        request = context.get("request")
        log.error("unhandled error in %s", getattr(request, "path", "?"), exc_info=exception)
    elif error.status >= 500:
        log.warning("%s: %s", error.code, error.message)
    return Response(envelope(error), status=error.status, headers=error.headers)


def as_fettle_error(exception: Exception) -> FettleError:
    match exception:
        case FettleError():
            return exception
        case drf_errors.ValidationError():
            return _from_validation(exception)
        case drf_errors.APIException():
            return _from_drf(exception)
        case StoreUnavailable():
            log.error("store: %s", exception)
            return Unavailable("The artifact store cannot be reached; try again later")
        case OperationalError() | InterfaceError():
            log.error("database", exc_info=exception)
            return Unavailable("The database cannot be reached or is overloaded; try again later")
        case Http404():
            return NotFound("There is no such object")
        case django_errors.PermissionDenied():
            return Forbidden("This API key may not do that")
        case django_errors.RequestDataTooBig():
            return PayloadTooLarge("The request body is larger than this server accepts")
        case django_errors.SuspiciousOperation() | django_errors.BadRequest():
            return InvalidRequest("The request is malformed", code="invalid_request")
    return InternalError()


def _from_drf(exception: drf_errors.APIException) -> FettleError:
    message = str(exception.detail)
    match exception:
        case drf_errors.ParseError():
            return InvalidRequest(message, code="invalid_json")
        case drf_errors.NotAuthenticated() | drf_errors.AuthenticationFailed():
            return Unauthorized(message)
        case drf_errors.PermissionDenied():
            return Forbidden(message)
        case drf_errors.NotFound():
            return NotFound(message)
        case drf_errors.MethodNotAllowed():
            return MethodNotAllowed(message)
        case drf_errors.UnsupportedMediaType():
            return UnsupportedMediaType(message)
        case drf_errors.Throttled():
            return RateLimited(message, retry_after_s=exception.wait or 1)
    return InternalError()


_CODES = {
    "required": "missing_required_parameter",
    "null": "missing_required_parameter",
    "blank": "missing_required_parameter",
    "empty": "missing_required_parameter",
    "not_a_dict": "invalid_type",
    "not_a_list": "invalid_type",
    "unknown": "unknown_parameter",
}


def _from_validation(exception: drf_errors.ValidationError) -> InvalidRequest:
    """The first error of a serializer, its place as a dotted path."""
    path, detail = _first_detail(exception.detail, ())
    param = ".".join(path) or None
    code = getattr(detail, "code", "invalid")
    message = str(detail)
    if code == "required":
        message = f"Missing required parameter: '{param}'."
    elif param:
        message = f"{param}: {message}"
    if code == "invalid" and message.endswith(("must be a valid string.", "Not a valid string.")):
        code = "not_a_dict"
    if code == "invalid" and ("Expected a" in message or "valid integer" in message or "valid number" in message):
        code = "not_a_dict"
    known = set(_CODES.values()) | {"invalid_value", "invalid_state", "file_not_found"}
    return InvalidRequest(message, param=param, code=_CODES.get(code, code if code in known else "invalid_value"))


def _first_detail(detail: Any, path: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
    """`{"a": [{}, {"b": ["wrong"]}]}` -> (("a", "1", "b"), "wrong")."""
    if isinstance(detail, Mapping):
        key, value = next(iter(detail.items()))
        return _first_detail(value, path if key == "non_field_errors" else (*path, str(key)))
    if isinstance(detail, Iterable) and not isinstance(detail, str):
        for index, value in enumerate(detail):
            if not value:
                continue
            return _first_detail(value, path if isinstance(value, str) else (*path, str(index)))
    return path, detail


def invalid_from_pydantic(error: PydanticError, prefix: str = "") -> InvalidRequest:
    """The first problem pydantic found, as an error of the request. `prefix` is the dotted path of what was parsed."""
    problem = error.errors(include_url=False)[0]
    path = [prefix] if prefix else []
    # Union branches (`function-after[...]`, `literal['auto']`) and discriminator values are pydantic's, not the user's.
    path += [str(part) for part in problem["loc"] if isinstance(part, int) or str(part).isidentifier()]
    param = ".".join(path) or None
    message = problem["msg"].removeprefix("Value error, ")
    kind = problem["type"]
    if kind == "missing":
        return InvalidRequest(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    if kind == "extra_forbidden":
        return InvalidRequest(f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")
    code = "invalid_type" if kind.endswith("_type") else "invalid_value"
    found = repr(problem["input"])
    return InvalidRequest(f"{param}: {message} (found {found[:200]})", param=param, code=code)
