"""Path parts that may hold what others may not. Importing this module registers them.

Usage: `import fettle_platform.core.converters` in a `urls.py`, then `path("models/<model_id:model>", ...)`. Put longer
routes first: the id takes everything that is left.
"""

from __future__ import annotations

from urllib.parse import unquote

from django.urls import register_converter


class ModelIdConverter:
    """A model id: `ft:org/name:acme:sums:a1B2c3D4:ckpt-step-8`.

    The client sends `/` as `%2F`. Most servers decode it before Django sees the path, some proxies encode it twice.
    """

    regex = "[^?#]+?"

    def to_python(self, value: str) -> str:
        return unquote(value)

    def to_url(self, value: str) -> str:
        return value


register_converter(ModelIdConverter, "model_id")
