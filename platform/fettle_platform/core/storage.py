"""The platform's way to the artifact store. Usage: `get_store().put(f"files/{file_id}", stream)`."""

from __future__ import annotations

from functools import lru_cache

from django.conf import settings

from fettle_workers.store import Blob, BlobMissing, BlobStore, StoreError, StoreUnavailable, open_store

__all__ = ["Blob", "BlobMissing", "BlobStore", "StoreError", "StoreUnavailable", "get_store"]


def get_store() -> BlobStore:
    return _opened(settings.FETTLE.resolved_store_url)


@lru_cache(maxsize=4)
def _opened(url: str) -> BlobStore:
    return open_store(url)
