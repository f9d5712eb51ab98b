"""The page and its assets, as `make web` built them into `dist`.

whitenoise picks the compressed variant, answers ranges and `If-None-Match`. It is called from a view, because as
middleware it would hold a thread for every request, also for those that wait for a model.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import add_never_cache_headers
from django.views.decorators.csrf import ensure_csrf_cookie
from whitenoise import WhiteNoise

from fettle_platform.core.errors import MethodNotAllowed
from fettle_platform.core.views import error_response, unknown_route

DIST = Path(__file__).with_name("dist")
# Styles may be inline because the component library and the editor set them; scripts may not.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"
)
_NOT_BUILT = """<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Fettle</title>
<body style="font: 16px/1.5 system-ui; max-width: 36rem; margin: 15vh auto; padding: 0 1rem">
<h1>The web page is not built yet</h1>
<p>The server runs and its API answers. To build the page, run this once in the source folder, then reload:</p>
<pre style="background: #eee; color: #111; padding: .75rem">make web</pre>
</body>
</html>
"""


def asset(request: HttpRequest, name: str) -> HttpResponseBase:
    """A file of the build. Names below `assets/` hold a digest of their content, so browsers keep those for good."""
    found = _files(_built_at()).get(request.path_info)
    if found is None:
        return unknown_route(request)
    answer = found.get_response(request.method, request.META)
    body = b""
    if answer.file is not None:
        with answer.file as file:
            body = file.read()
    response = HttpResponse(body, status=int(answer.status))
    del response["content-type"]
    for header, value in answer.headers:
        response[header] = value
    return response


@ensure_csrf_cookie
def page(request: HttpRequest) -> HttpResponseBase:
    """The page for every address that a browser navigates to; programs asking for an unknown one get the envelope."""
    if "text/html" not in request.headers.get("Accept", ""):
        return unknown_route(request)
    if request.method not in ("GET", "HEAD"):
        return error_response(MethodNotAllowed(f'Method "{request.method}" not allowed.'))
    built = DIST / "index.html"
    if built.is_file():
        response = HttpResponse(built.read_bytes())
    else:
        response = HttpResponse(_NOT_BUILT, status=503)
    response["content-security-policy"] = CONTENT_SECURITY_POLICY
    add_never_cache_headers(response)
    return response


def _built_at() -> int:
    built = DIST / "index.html"
    return built.stat().st_mtime_ns if built.is_file() else 0


@lru_cache(maxsize=1)
def _files(built_at: int) -> dict[str, object]:
    """By address. Read again when a new build is there, so that a running server serves it."""
    if not built_at:
        return {}
    noise = WhiteNoise(
        None,
        root=DIST,
        prefix="static/app",
        allow_all_origins=False,
        immutable_file_test=lambda path, url: "/static/app/assets/" in url,
    )
    return noise.files
