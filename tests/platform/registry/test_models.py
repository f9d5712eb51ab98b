"""What can be served, and the export of the weights."""

import io
import zipfile
from datetime import UTC, datetime, timedelta

import pytest

from fettle_platform.core.storage import get_store
from fettle_platform.registry import services

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DIGEST = "a" * 64
FILES = {"adapter_config.json": b'{"r": 16}', "adapter_model.safetensors": b"weights" * 1000}


@pytest.fixture
def models_file(tmp_path, change_env):
    """A catalogue with a slash in an id."""
    path = tmp_path / "models.toml"
    path.write_text('[models."Qwen/Qwen3-4B"]\nsource = "hub"\ndescription = "4 B parameters"\n')
    change_env(models_file=path)


@pytest.fixture
def register(scope, models_file):
    """`register("sums")` stores an adapter and gives the public id of a model of it."""

    def make(suffix="sums", *, digest=DIGEST, project=None, is_checkpoint=False):
        name = services.new_model_name(base_model="Qwen/Qwen3-4B", organization="acme", suffix=suffix)
        name = services.checkpoint_name(name, 8) if is_checkpoint else name
        entries = {}
        for file, content in FILES.items():
            blob = get_store().put(f"adapters/{digest}/{file}", content)
            entries[file] = {"size_bytes": blob.size_bytes, "sha256": blob.sha256}
        get_store().put(f"adapters/{digest}/manifest.json", b"{}")
        services.adapter_note(digest=digest, base_model="Qwen/Qwen3-4B", files=entries, now=NOW)
        services.model_register(
            project=project or scope.project,
            public_id=name,
            base_model="Qwen/Qwen3-4B",
            adapter_digest=digest,
            job_id="ftjob-1",
            step=8,
            is_checkpoint=is_checkpoint,
            parent="Qwen/Qwen3-4B",
            details={"selection": {"verdict": "improved"}},
            now=NOW,
        )
        return name

    return make


def test_names_keep_the_place_of_a_missing_suffix():
    name = services.new_model_name(base_model="b", organization="acme", suffix=None)
    assert name.startswith("ft:b:acme::")
    assert len(name.rsplit(":", 1)[1]) == 8


def test_base_and_fine_tuned_models_are_listed_but_checkpoints_are_not(api, register, golden):
    name = register()
    checkpoint = register(is_checkpoint=True)
    page = api.get("/v1/models").json()
    assert [model["id"] for model in page["data"]] == ["fettle-tiny", "Qwen/Qwen3-4B", name]
    assert checkpoint not in str(page)
    golden("model", page["data"][2] | {"id": name[:-8] + "<random>"})


@pytest.mark.parametrize("escape", [lambda name: name, lambda name: name.replace("/", "%2F")])
def test_a_model_is_found_with_its_slash_and_colons(api, register, escape):
    for name in (register(), register(is_checkpoint=True), "Qwen/Qwen3-4B"):
        assert api.get(f"/v1/models/{escape(name)}").json()["id"] == name
        assert api.get(f"/v1/fettle/models/{escape(name)}").json()["id"] == name


def test_details_tell_where_a_model_comes_from(api, register):
    details = api.get(f"/v1/fettle/models/{register()}").json()["fettle"]
    assert details["trained_from"] == "Qwen/Qwen3-4B"
    assert details["selection"] == {"verdict": "improved"}
    assert details["files"]["adapter_config.json"]["size_bytes"] == 9


def test_a_deleted_model_is_gone_and_a_base_model_cannot_be_deleted(api, register, error_of):
    name = register()
    assert api.delete(f"/v1/models/{name}").json() == {"id": name, "object": "model", "deleted": True}
    assert error_of(api.get(f"/v1/models/{name}"), 404)["code"] == "model_not_found"
    error_of(api.delete("/v1/models/fettle-tiny"), 403)


def test_the_adapter_is_a_zip_of_the_peft_folder(api, register):
    response = api.get(f"/v1/fettle/models/{register()}/adapter")
    assert response["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(b"".join(response.streaming_content)))
    assert archive.testzip() is None
    assert {name: archive.read(name) for name in archive.namelist()} == FILES


def test_the_adapter_is_streamed_over_asgi_in_pieces(http, register):
    """Under ASGI Django would read a plain iterator to its end before it sends anything."""
    FILES["adapter_model.safetensors"] = b"w" * 5_000_000
    try:
        name = register()
        with http.stream("GET", f"/v1/fettle/models/{name.replace('/', '%2F')}/adapter") as response:
            content = b"".join(response.iter_bytes())
    finally:
        FILES["adapter_model.safetensors"] = b"weights" * 1000
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert len(archive.read("adapter_model.safetensors")) == 5_000_000


def test_a_zip_is_made_in_constant_memory(tmp_path):
    """The largest piece held is one chunk and the zip's own bookkeeping, however large the files are."""
    from fettle_platform.registry.adapter_zip import zip_pieces
    from fettle_workers.store import open_store

    store = open_store(f"file://{tmp_path}")
    store.put("a/one", b"x" * 8_000_000)
    sizes = [len(piece) for piece in zip_pieces(store, {"one": "a/one"})]
    assert sum(sizes) > 8_000_000
    assert max(sizes) <= 1024 * 1024 + 1024


def test_a_missing_file_is_said_before_the_first_byte(api, register, error_of):
    name = register()
    get_store().delete(f"adapters/{DIGEST}/adapter_model.safetensors")
    error_of(api.get(f"/v1/fettle/models/{name}/adapter"), 404)


def test_an_adapter_is_collected_when_nothing_names_it_for_a_day(api, register):
    from fettle_platform.jobs.housekeeping import adapters_collect

    first, second = register("one"), register("two")
    api.delete(f"/v1/models/{first}")
    assert adapters_collect(now=NOW + timedelta(days=2)) == 0  # the other model shares it
    api.delete(f"/v1/models/{second}")
    assert adapters_collect(now=NOW + timedelta(hours=1)) == 0
    assert adapters_collect(now=NOW + timedelta(days=2)) == 1
    assert list(get_store().list("adapters/")) == []
