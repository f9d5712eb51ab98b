"""Committed checkpoints in a local work folder."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from fettle_workers.contract.events import CheckpointManifest, FileEntry

MANIFEST = "manifest.json"
_BUILDING = ".building-"
_FINAL = "final"


class LocalCheckpoints:
    """`checkpoints/step-000120/` below the work folder. Implements the engine's `CheckpointStore`.

    A folder is built beside its place under another name, flushed to disk, and renamed: a kill leaves the whole
    checkpoint or none. `keep_states` bounds how many folders keep the large training state (None: all); adapters and
    rollouts stay in every case.
    """

    def __init__(self, work_dir: Path, *, keep_states: int | None = None) -> None:
        self._work_dir = work_dir
        self._root = work_dir / "checkpoints"
        self._keep_states = keep_states

    def commit(self, step: int, write: Callable[[Path], CheckpointManifest]) -> tuple[str, CheckpointManifest]:
        building = self._building(str(step))
        manifest = write(building)
        files = {path.relative_to(building).as_posix(): _entry(path) for path in _files(building)}
        manifest = manifest.model_copy(update={"files": files})
        (building / MANIFEST).write_text(manifest.model_dump_json(indent=1), "utf-8")
        directory = self._put_in_place(building, self.folder(step))
        self._drop_old_states()
        return directory, manifest

    def store_final(self, name: str, write: Callable[[Path], None]) -> tuple[str, FileEntry]:
        building = self._building(_FINAL)
        write(building / name)
        entry = _entry(building / name)
        return self._put_in_place(building, self._root / _FINAL), entry

    def newest(self) -> Path | None:
        return next((folder for folder in reversed(self._folders()) if is_whole(folder)), None)

    def adapter(self, step: int, digest: str) -> Path | None:
        places = (self.folder(step) / "adapter", self._work_dir / "inputs" / "adapters" / digest)
        return next((place for place in places if _adapter_digest(place) == digest), None)

    def discard_after(self, step: int) -> None:
        shutil.rmtree(self._root / _FINAL, ignore_errors=True)
        for folder in self._folders():
            if _step_of(folder) > step:
                shutil.rmtree(folder)

    def _building(self, name: str) -> Path:
        """An empty folder beside the others; what a killed process left half built goes."""
        self._root.mkdir(parents=True, exist_ok=True)
        for left_over in self._root.glob(f"{_BUILDING}*"):
            shutil.rmtree(left_over)
        building = self._root / f"{_BUILDING}{name}"
        building.mkdir()
        return building

    def _put_in_place(self, building: Path, folder: Path) -> str:
        """Make a filled folder durable under its own name. Returns it relative to the work folder."""
        for path in (*_files(building), *(path for path in building.rglob("*") if path.is_dir()), building):
            _flush(path)
        if folder.exists():  # an earlier attempt got here and was told to go on from before it
            shutil.rmtree(folder)
        building.rename(folder)
        _flush(self._root)
        return folder.relative_to(self._work_dir).as_posix()

    def folder(self, step: int) -> Path:
        return self._root / f"step-{step:06d}"

    def _folders(self) -> list[Path]:
        return sorted(self._root.glob("step-*"), key=_step_of)

    def _drop_old_states(self) -> None:
        if self._keep_states is not None:
            for folder in self._folders()[: -self._keep_states]:
                (folder / "state.safetensors").unlink(missing_ok=True)


def is_whole(folder: Path) -> bool:
    """Whether every file of the folder's manifest is there with its size and digest."""
    try:
        manifest = CheckpointManifest.model_validate_json((folder / MANIFEST).read_bytes())
        return all(_entry(folder / name) == entry for name, entry in manifest.files.items())
    except (OSError, ValidationError):
        return False


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(size_bytes=path.stat().st_size, sha256=digest)


def _adapter_digest(folder: Path) -> str | None:
    """Digest of an adapter folder: SHA-256 over `name NUL sha256 LF` of its PEFT files; None if one is missing."""
    total = hashlib.sha256()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            return None
        total.update(f"{name}\0{_entry(folder / name).sha256}\n".encode())
    return total.hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
