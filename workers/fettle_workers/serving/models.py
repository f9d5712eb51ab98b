"""Which models this server answers for, and where they come from: bases from the catalogue, adapters from the store."""

from __future__ import annotations

import re
import shutil
import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ValidationError

from fettle_workers.contract.catalogue import BaseModelEntry
from fettle_workers.contract.events import FileEntry
from fettle_workers.engine.lora import ADAPTER_FILES, AdapterError, adapter_digest, digest_of_files
from fettle_workers.engine.model import Base, ModelError, Policy, load_base, resolve_source
from fettle_workers.serving.errors import ModelBroken, Overloaded, UnknownModel
from fettle_workers.serving.grammar import Grammars
from fettle_workers.store import BlobCorrupt, BlobMissing, BlobStore, StoreUnavailable, download

MAX_ADAPTERS = 16  # kept in memory; each costs its own tensors only, the base is shared
_MAX_ADAPTER_BYTES = 4 * 2**30
_MAX_MANIFEST_BYTES = 2**20
_ADAPTER_NAME = re.compile(r"ft-([0-9a-f]{64})")


class AdapterManifest(BaseModel):
    """`adapters/<digest>/manifest.json` in the store."""

    base_model: str
    files: dict[str, FileEntry]


@dataclass(frozen=True)
class ServedModel:
    name: str
    policy: Policy

    @cached_property
    def grammars(self) -> Grammars:
        return Grammars(self.policy.tokenizer, self.policy.chat, num_logits=self.policy.num_logits)


class Models:
    """Loads on first use. Bases stay; of the adapters the least recently used one makes room.

    Safe to call from several threads. One model is loaded at a time; those in memory are not kept waiting by it.
    """

    def __init__(self, catalogue: Mapping[str, BaseModelEntry], store: BlobStore, cache_dir: Path) -> None:
        self._catalogue, self._store = catalogue, store
        self._cache_dir = cache_dir / "adapters"
        self._bases: dict[str, Base] = {}
        self._served: OrderedDict[str, ServedModel] = OrderedDict()
        self._guard = threading.Lock()
        self._loading = threading.Lock()

    @property
    def base_names(self) -> list[str]:
        return sorted(self._catalogue)

    def loaded(self, name: str) -> ServedModel | None:
        """The model if it is in memory."""
        with self._guard:
            if name in self._served:
                self._served.move_to_end(name)
            return self._served.get(name)

    def get(self, name: str) -> ServedModel:
        """The model, loaded if need be; may take long.

        Raises:
            UnknownModel: not in the catalogue, and no adapter of that digest in the store.
            ModelBroken: its files are damaged or not what Fettle loads.
            Overloaded: the store does not answer.
        """
        if name not in self._catalogue and not _ADAPTER_NAME.fullmatch(name):
            raise UnknownModel(name)
        with self._loading:
            return self.loaded(name) or self._remember(ServedModel(name, self._load(name)))

    def _remember(self, model: ServedModel) -> ServedModel:
        with self._guard:
            self._served[model.name] = model
            adapters = [name for name in self._served if name not in self._catalogue]
            for name in adapters[:-MAX_ADAPTERS]:
                del self._served[name]
        return model

    def _load(self, name: str) -> Policy:
        try:
            if name in self._catalogue:
                return self._base(name).new_adapter(rank=1)  # B = 0: exactly the base
            folder, base_name = self._adapter_folder(name)
            return self._base(base_name).with_adapter(folder)
        except (ModelError, AdapterError) as error:
            raise ModelBroken(f"model {name!r} cannot be loaded: {error}", code="model_broken") from error

    def _base(self, name: str) -> Base:
        if name not in self._bases:
            entry = self._catalogue[name]
            self._bases[name] = load_base(
                resolve_source(entry), base_model_id=name, dtype=entry.dtype, revision=entry.revision
            )
        return self._bases[name]

    def _adapter_folder(self, name: str) -> tuple[Path, str]:
        """The verified files of an adapter on this disk, and the base they are for."""
        digest = name.removeprefix("ft-")
        try:
            manifest = self._manifest(name, digest)
            folder = self._cache_dir / digest
            if not _is_whole(folder, digest):
                self._pull(digest, manifest, folder)
        except BlobMissing:
            raise UnknownModel(name) from None
        except BlobCorrupt as error:
            raise ModelBroken(f"model {name!r}: {error}", code="model_broken") from error
        except StoreUnavailable as error:
            raise Overloaded(f"the store does not answer, so model {name!r} cannot be loaded now: {error}") from error
        return folder, manifest.base_model

    def _manifest(self, name: str, digest: str) -> AdapterManifest:
        with self._store.open(f"adapters/{digest}/manifest.json") as file:
            text = file.read(_MAX_MANIFEST_BYTES)
        try:
            manifest = AdapterManifest.model_validate_json(text)
        except ValidationError as error:
            raise AdapterError(f"manifest.json is not an adapter manifest: {error.errors()[0]['msg']}") from error
        if sorted(manifest.files) != sorted(ADAPTER_FILES):
            raise AdapterError(f"its files are {sorted(manifest.files)}, expected exactly {sorted(ADAPTER_FILES)}")
        if digest_of_files({file: entry.sha256 for file, entry in manifest.files.items()}) != digest:
            raise AdapterError("the digests in manifest.json are not those that the name stands for")
        if manifest.base_model not in self._catalogue:
            raise AdapterError(f"its base model {manifest.base_model!r} is not in this server's catalogue")
        if sum(entry.size_bytes for entry in manifest.files.values()) > _MAX_ADAPTER_BYTES:
            raise AdapterError(f"it is larger than {_MAX_ADAPTER_BYTES} bytes")
        return manifest

    def _pull(self, digest: str, manifest: AdapterManifest, folder: Path) -> None:
        partial = folder.with_name(f".{digest}.{uuid.uuid4().hex}")
        try:
            for file, entry in manifest.files.items():
                download(
                    self._store,
                    f"adapters/{digest}/{file}",
                    partial / file,
                    sha256=entry.sha256,
                    size_bytes=entry.size_bytes,
                )
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _is_whole(folder: Path, digest: str) -> bool:
    return all((folder / name).is_file() for name in ADAPTER_FILES) and adapter_digest(folder) == digest
