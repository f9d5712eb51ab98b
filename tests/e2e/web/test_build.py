"""What `make web` built: small enough, and made for the API that this server has."""

import gzip
import json
from pathlib import Path

import httpx

from fettle_platform.web.views import DIST

ROOT = Path(__file__).parents[3]
FIRST_LOAD_KB = 200
ROUTE_KB = 60
# Fetched only by pages with a code editor.
EDITOR = "src/ui/editor/"
FIRST_PAGE = "src/features/overview/OverviewPage.tsx"


def manifest():
    return json.loads((DIST / ".vite/manifest.json").read_text())


def with_imports(entries, name):
    """The files that must be there before the chunk runs."""
    todo, found = [name], set()
    while todo:
        entry = entries[todo.pop()]
        if entry["file"] not in found:
            found.add(entry["file"])
            todo += entry.get("imports", [])
    return found


def size_kb(files):
    return sum(len(gzip.compress((DIST / file).read_bytes())) for file in files if file.endswith(".js")) / 1000


def test_the_first_page_needs_at_most_200_kb_of_scripts():
    entries = manifest()
    first = with_imports(entries, "index.html") | with_imports(entries, FIRST_PAGE)
    assert 100 < size_kb(first) <= FIRST_LOAD_KB, {file: round(size_kb([file]), 1) for file in sorted(first)}


def test_every_other_page_adds_at_most_60_kb():
    entries = manifest()
    first = with_imports(entries, "index.html")
    chunks = [name for name, entry in entries.items() if entry.get("isDynamicEntry") and not name.startswith(EDITOR)]
    assert FIRST_PAGE in chunks
    sizes = {name: round(size_kb(with_imports(entries, name) - first), 1) for name in chunks}
    assert {name: size for name, size in sizes.items() if size > ROUTE_KB} == {}


def test_the_types_of_the_client_were_made_from_the_api_as_it_is(site):
    now = httpx.get(f"{site.url}/v1/openapi.json").json()
    built_from = json.loads((ROOT / "frontend/openapi.json").read_text())
    assert built_from == now, "the API changed since the page was built: make web"


def test_scripts_come_compressed_and_are_kept_for_good(site):
    script = manifest()["index.html"]["file"]
    answer = httpx.get(f"{site.url}/static/app/{script}", headers={"accept-encoding": "br"})
    assert answer.headers["content-encoding"] == "br"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.content == (DIST / f"{script}.br").read_bytes()
