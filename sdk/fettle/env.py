"""Every environment variable the client reads."""

from __future__ import annotations

import os

DEFAULT_BASE_URL = "http://127.0.0.1:8000/v1"


def base_url() -> str:
    """`FETTLE_BASE_URL`, the address of the server's `/v1`."""
    return os.environ.get("FETTLE_BASE_URL") or DEFAULT_BASE_URL


def api_key() -> str | None:
    """`FETTLE_API_KEY`. The OpenAI key is never read: it would be sent to a server that is not OpenAI's."""
    return os.environ.get("FETTLE_API_KEY") or None


def no_color() -> bool:
    """`NO_COLOR`, https://no-color.org: set and not empty."""
    return bool(os.environ.get("NO_COLOR"))
