"""Bytes in before training, checkpoints out while it runs."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from fettle_workers.contract.events import CheckpointCommitted, FileEntry, RolloutsStored
from fettle_workers.contract.internal import ClaimResponse
from fettle_workers.store import BlobMissing, BlobStore, download

ADAPTER = "adapter/"
MANIFEST = "manifest.json"


def checkpoint_folder(step: int) -> str:
    return f"checkpoints/step-{step:06d}"


def fetch_inputs(store: BlobStore, claimed: ClaimResponse, work: Path) -> str | None:
    """Bring data files, the adapter to continue from and the state to resume from into the work folder.

    Returns:
        The checkpoint folder to resume from, relative to `work`, or None for a fresh start.

    Raises:
        BlobMissing, BlobCorrupt, StoreUnavailable.
    """
    spec = claimed.spec
    for data in (spec.training_file, spec.validation_file):
        if data is not None:
            target = work / "inputs" / data.sha256
            download(store, data.key, target, sha256=data.sha256, size_bytes=data.size_bytes)
    if spec.init_adapter is not None:
        fetch_adapter(store, spec.init_adapter.digest, work / "inputs" / "adapters" / spec.init_adapter.digest)
    if spec.step0 is not None:
        # Only saves work: where the file is gone, the trainer answers the held-out rows itself, and says so.
        with suppress(BlobMissing):
            target = work / "inputs" / spec.step0.sha256
            download(store, spec.step0.key, target, sha256=spec.step0.sha256, size_bytes=spec.step0.size_bytes)
    if claimed.resume is None:
        return None
    manifest = claimed.resume.manifest
    for step, digest in manifest.candidates.items():
        fetch_adapter(store, digest, work / checkpoint_folder(step) / ADAPTER.rstrip("/"))
    folder = checkpoint_folder(claimed.resume.step)
    for name, entry in manifest.files.items():
        key = _store_key(name, manifest.adapter_digest, claimed.resume.store_prefix)
        download(store, key, work / folder / name, sha256=entry.sha256, size_bytes=entry.size_bytes)
    (work / folder / MANIFEST).write_text(manifest.model_dump_json())
    return folder


def fetch_adapter(store: BlobStore, digest: str, folder: Path) -> None:
    """Download the PEFT files of one content-addressed adapter and verify each."""
    with store.open(f"adapters/{digest}/{MANIFEST}") as stream:
        files = json.loads(stream.read())["files"]
    for name, entry in files.items():
        entry = FileEntry.model_validate(entry)
        download(store, f"adapters/{digest}/{name}", folder / name, sha256=entry.sha256, size_bytes=entry.size_bytes)


def upload_checkpoint(
    store: BlobStore, event: CheckpointCommitted, work: Path, *, prefix: str, base_model: str
) -> CheckpointCommitted:
    """Copy a committed checkpoint folder to the store, manifests last; repeating it changes nothing.

    Raises:
        StoreUnavailable: nothing refers to what was written so far; try again.
    """
    manifest = event.manifest
    for name in manifest.files:
        with (work / event.directory / name).open("rb") as source:
            store.put(_store_key(name, manifest.adapter_digest, prefix), source)
    adapter_manifest = {
        "base_model": base_model,
        "files": {
            name.removeprefix(ADAPTER): entry.model_dump()
            for name, entry in sorted(manifest.files.items())
            if name.startswith(ADAPTER)
        },
    }
    store.put(f"adapters/{manifest.adapter_digest}/{MANIFEST}", json.dumps(adapter_manifest).encode())
    store.put(f"{prefix}/{MANIFEST}", manifest.model_dump_json().encode())
    return event.model_copy(update={"store_prefix": prefix})


def upload_rollouts(store: BlobStore, event: RolloutsStored, work: Path, *, prefix: str) -> RolloutsStored:
    """Copy the file of the final measurements to the store; repeating it changes nothing.

    Raises:
        StoreUnavailable: try again.
    """
    with (work / event.directory / event.name).open("rb") as source:
        store.put(f"{prefix}/{event.name}", source)
    return event.model_copy(update={"store_prefix": prefix})


def drop_uploaded(event: CheckpointCommitted, work: Path) -> None:
    """Free the scratch disk of what the store has. The trainer reads adapters again, and nothing else."""
    for name in event.manifest.files:
        if not name.startswith(ADAPTER):
            (work / event.directory / name).unlink(missing_ok=True)


def _store_key(name: str, adapter_digest: str, prefix: str) -> str:
    if name.startswith(ADAPTER):
        return f"adapters/{adapter_digest}/{name.removeprefix(ADAPTER)}"
    return f"{prefix}/{name}"
