"""How requests are read: strict JSON that may be absent, and an `Accept` header that never leads to a 406."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser, JSONParser

from fettle_platform.core import strict_json
from fettle_platform.core.errors import InvalidRequest, PayloadTooLarge


class StrictJSONParser(JSONParser):
    """The official client sends `Content-Type: application/json` on POSTs without a body: that reads as `{}`."""

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        limit = settings.FETTLE.max_json_bytes
        raw = stream.read(limit + 1)
        if len(raw) > limit:
            raise PayloadTooLarge(f"The request body is larger than {limit} bytes")
        if not raw.strip():
            return {}
        try:
            return strict_json.loads(raw.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"The request body is not UTF-8 at byte {error.start}", code="invalid_json") from None
        except strict_json.StrictJSONError as error:
            raise InvalidRequest(f"The request body is {_as_predicate(error)}", code="invalid_json") from None


def _as_predicate(error: strict_json.StrictJSONError) -> str:
    return str(error) if error.code in ("invalid_json", "nested_too_deep") else f"not acceptable JSON: {error}"


class AnyAccept(BaseContentNegotiation):
    """Takes the parser that fits the content type, and the one renderer whatever `Accept` says."""

    def select_parser(self, request: Any, parsers: list[BaseParser]) -> BaseParser | None:
        media_type = request.content_type.split(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == media_type), None)

    def select_renderer(self, request: Any, renderers: list[Any], format_suffix: str | None = None) -> tuple[Any, str]:
        return renderers[0], renderers[0].media_type
