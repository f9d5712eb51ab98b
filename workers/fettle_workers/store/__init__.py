"""The artifact store: named blobs in a local folder or an S3 bucket, used by control plane and supervisor alike."""

from fettle_workers.store.blob import (
    Blob,
    BlobCorrupt,
    BlobExists,
    BlobMissing,
    BlobStore,
    StoreError,
    StoreUnavailable,
    download,
    open_store,
)

__all__ = [
    "Blob",
    "BlobCorrupt",
    "BlobExists",
    "BlobMissing",
    "BlobStore",
    "StoreError",
    "StoreUnavailable",
    "download",
    "open_store",
]
