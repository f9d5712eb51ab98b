import gzip
import os

import pytest

from fettle_platform.web import views

BROWSER = {"host": "localhost", "accept": "text/html,*/*;q=0.8"}
PROGRAM = {"host": "localhost", "accept": "*/*"}


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A small build."""
    monkeypatch.setattr(views, "DIST", tmp_path)
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>Fettle</title>")
    (tmp_path / "theme.js").write_text("1")
    script = tmp_path / "assets" / "index-abc.js"
    script.write_text("const answer = 42;" * 100)
    (tmp_path / "assets" / "index-abc.js.gz").write_bytes(gzip.compress(script.read_bytes()))
    return tmp_path


@pytest.mark.parametrize("path", ["/", "/jobs", "/jobs/ftjob-1/rollouts", "/models/ft:Qwen2.5:acme::x", "/nowhere"])
def test_every_address_a_browser_opens_is_the_page(client, built, path):
    answer = client.get(path, headers=BROWSER)
    assert answer.status_code == 200
    assert b"<title>Fettle</title>" in answer.content
    assert "script-src 'self';" in answer["content-security-policy"]
    assert "frame-ancestors 'none'" in answer["content-security-policy"]
    assert "no-store" in answer["cache-control"]
    assert "csrftoken" in answer.cookies


@pytest.mark.parametrize("path", ["/v1/nowhere", "/internal/nowhere", "/favicon.ico", "/static/app/assets/gone.js"])
def test_unknown_addresses_of_programs_and_files_are_json_even_for_a_browser(client, built, error_of, path):
    assert error_of(client.get(path, headers=BROWSER), 404)["code"] == "unknown_url"


def test_a_program_gets_json_where_a_browser_gets_the_page(client, built, error_of):
    error_of(client.get("/jobs", headers=PROGRAM), 404)
    assert client.post("/jobs", headers=BROWSER).status_code == 405


def test_hashed_assets_are_kept_for_good_and_sent_compressed(client, built):
    answer = client.get("/static/app/assets/index-abc.js", headers=PROGRAM | {"accept-encoding": "gzip, br"})
    assert answer["content-encoding"] == "gzip"
    assert gzip.decompress(answer.content).startswith(b"const answer = 42;")
    assert "immutable" in answer["cache-control"]
    assert answer["content-type"].startswith("text/javascript")
    plain = client.get("/static/app/theme.js", headers=PROGRAM)
    assert plain.content == b"1"
    assert "immutable" not in plain["cache-control"]
    again = client.get("/static/app/theme.js", headers=PROGRAM | {"if-none-match": plain["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_nothing_outside_the_build_is_served(client, built):
    (built.parent / "secret.js").write_text("secret")
    for path in ("/static/app/../secret.js", "/static/app/%2e%2e/secret.js", "/static/app/assets/..%2f..%2fsecret.js"):
        assert client.get(path, headers=PROGRAM).status_code == 404


def test_a_new_build_is_served_without_a_restart(client, built):
    assert client.get("/static/app/assets/index-new.js", headers=PROGRAM).status_code == 404
    (built / "assets" / "index-new.js").write_text("2")
    os.utime(built / "index.html", (1, 1))
    assert client.get("/static/app/assets/index-new.js", headers=PROGRAM).content == b"2"


def test_without_a_build_the_page_says_the_one_command(client, tmp_path, monkeypatch, db):
    monkeypatch.setattr(views, "DIST", tmp_path / "nothing")
    answer = client.get("/", headers=BROWSER)
    assert answer.status_code == 503
    assert b"make web" in answer.content
    assert client.get("/healthz", headers=PROGRAM).status_code == 200
