"""The remote HTTP grader."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from fettle_graders.kinds.base import GraderBase, Number

_SET_BY_FETTLE = ("host", "content-length", "transfer-encoding", "connection", "accept-encoding")


class EndpointSpec(GraderBase):
    """The score a remote HTTP service answers. Header values are secrets: show a spec only through `masked`."""

    type: Literal["endpoint"]
    url: Annotated[str, Field(max_length=2048)]
    headers: dict[str, str] | None = Field(default=None, repr=False)
    rate_limit: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    pass_threshold: Number | None = None

    @field_validator("url")
    @classmethod
    def _http_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected an absolute http:// or https:// URL")
        if parts.username or parts.password:
            raise ValueError("the URL carries a user name or password; send credentials in headers instead")
        return url

    @field_validator("headers")
    @classmethod
    def _clean_headers(cls, headers: dict[str, str] | None) -> dict[str, str] | None:
        for name, value in (headers or {}).items():
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
                raise ValueError(f"{name!r} is not the name of an HTTP header")
            if name.lower() in _SET_BY_FETTLE:
                raise ValueError(f"{name!r} is set by Fettle; leave it out")
            if re.search(r"[^\t\x20-\x7e]", value):
                raise ValueError(f"the value of {name!r} contains a line break or something that is not ASCII text")
        return headers
