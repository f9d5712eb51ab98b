"""What the server accepts as a model, and what it refuses."""

from __future__ import annotations

import json

import pytest
import torch

from fettle_workers.contract.catalogue import BaseModelEntry
from fettle_workers.engine.model import load_policy
from fettle_workers.serving import models as served_models
from fettle_workers.serving.errors import ModelBroken, Overloaded, UnknownModel
from fettle_workers.serving.models import Models
from fettle_workers.store import StoreUnavailable, open_store

IDS = torch.tensor([[65, 66, 67]])


@pytest.fixture
def store(tmp_path):
    return open_store(f"file://{tmp_path}/store")


@pytest.fixture
def catalogue(model_folder):
    return {"small": BaseModelEntry(source=str(model_folder("qwen3")))}


@pytest.fixture
def models(catalogue, store, tmp_path):
    return Models(catalogue, store, tmp_path / "cache")


@pytest.fixture
def publish(model_folder, wake, store, tmp_path):
    """Puts an adapter in the store as the supervisor does; `change` may spoil the manifest."""

    def put(seed: int, *, rank: int = 4, base_model: str = "small", change=None) -> tuple[str, torch.Tensor]:
        policy = load_policy(model_folder("qwen3"), base_model_id=base_model, lora_rank=rank, seed=seed)
        wake(policy, seed=seed)
        folder = tmp_path / f"adapter-{seed}"
        digest = policy.save_adapter(folder)
        files = {}
        for path in folder.iterdir():
            blob = store.put(f"adapters/{digest}/{path.name}", path.read_bytes())
            files[path.name] = {"size_bytes": blob.size_bytes, "sha256": blob.sha256}
        manifest = {"base_model": base_model, "files": files}
        if change:
            change(manifest)
        store.put(f"adapters/{digest}/manifest.json", json.dumps(manifest).encode())
        return f"ft-{digest}", policy.logits(IDS, torch.ones_like(IDS)).detach()

    return put


def logits(model):
    return model.policy.logits(IDS, torch.ones_like(IDS)).detach()


def test_adapters_of_different_rank_share_one_base(models, publish):
    published = [publish(seed, rank=rank) for seed, rank in ((1, 4), (2, 8))]
    found = [models.get(name) for name, _ in published]
    for model, (_, expected) in zip(found, published, strict=True):
        torch.testing.assert_close(logits(model), expected, rtol=0, atol=0)
    weights = {sorted(m.policy.network.base_tensors())[0][1].data_ptr() for m in found}
    assert len(weights) == 1
    assert models.get(published[0][0]) is found[0]


def test_cached_files_are_used_without_the_blobs_and_pulled_again_when_damaged(
    catalogue, models, publish, store, tmp_path
):
    name, expected = publish(1)
    models.get(name)
    cached = tmp_path / "cache/adapters" / name.removeprefix("ft-") / "adapter_model.safetensors"
    whole = cached.read_bytes()
    cached.write_bytes(whole[:-1] + b"x")
    torch.testing.assert_close(logits(Models(catalogue, store, tmp_path / "cache").get(name)), expected)
    assert cached.read_bytes() == whole
    store.delete(f"adapters/{name.removeprefix('ft-')}/adapter_model.safetensors")
    torch.testing.assert_close(logits(Models(catalogue, store, tmp_path / "cache").get(name)), expected)
    assert [path.name for path in (tmp_path / "cache/adapters").iterdir()] == [name.removeprefix("ft-")]


def test_least_recently_used_adapter_makes_room(models, publish, monkeypatch):
    monkeypatch.setattr(served_models, "MAX_ADAPTERS", 2)
    names = [publish(seed)[0] for seed in (1, 2, 3)]
    for name in (names[0], names[1], names[0], names[2], "small"):
        models.get(name)
    assert [models.loaded(name) is not None for name in (*names, "small")] == [True, False, True, True]


@pytest.mark.parametrize("name", ["gpt-4", "ft-" + "0" * 64, "ft-../../x", "ft-" + "A" * 64, ""])
def test_unknown_names(models, name):
    with pytest.raises(UnknownModel):
        models.get(name)


def spoil_digest(manifest):
    manifest["files"]["adapter_config.json"]["sha256"] = "0" * 64


def spoil_names(manifest):
    manifest["files"]["run_me.py"] = {"size_bytes": 1, "sha256": "0" * 64}


def spoil_base(manifest):
    manifest["base_model"] = "other"


def spoil_form(manifest):
    del manifest["files"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil_digest, "not those that the name stands for"),
        (spoil_names, "run_me.py"),
        (spoil_base, "'other' is not in this server's catalogue"),
        (spoil_form, "not an adapter manifest"),
    ],
)
def test_manifests_that_do_not_fit_are_refused(models, publish, change, message):
    name, _ = publish(1, change=change)
    with pytest.raises(ModelBroken, match=message):
        models.get(name)


def test_adapter_trained_on_another_base_is_refused(models, publish):
    name, _ = publish(1, base_model="other", change=lambda manifest: manifest.update(base_model="small"))
    with pytest.raises(ModelBroken, match="trained on 'other'"):
        models.get(name)


def test_damaged_blob_is_refused_and_leaves_nothing_in_the_cache(models, publish, store, tmp_path):
    name, _ = publish(1)
    store.put(f"adapters/{name.removeprefix('ft-')}/adapter_model.safetensors", b"something else")
    with pytest.raises(ModelBroken, match="recorded were"):
        models.get(name)
    assert not list((tmp_path / "cache/adapters").iterdir())


def test_store_that_does_not_answer_is_told_as_a_passing_trouble(catalogue, tmp_path):
    class Down:
        def open(self, key):
            raise StoreUnavailable("no route to host")

    with pytest.raises(Overloaded, match="no route to host"):
        Models(catalogue, Down(), tmp_path).get("ft-" + "0" * 64)
