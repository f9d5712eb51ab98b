"""Adapter folders for a sampler in another process: one folder per version, on the RAM disk where there is one."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

_RAM_DISK = Path("/dev/shm")
_PREFIX, _LOCK, _HALF = "fettle-adapters-", "owner.lock", "half"


class AdapterVersions:
    """Numbered folders below one root that goes with this object, or with the next process that makes one.

    A number and a path are never used again: a server that has read a path may keep what it read. A folder is renamed
    into place whole, so whoever sees it can read it.
    """

    def __init__(self, *, size_bytes: int, ram_disk: Path = _RAM_DISK) -> None:
        """`size_bytes` is that of one version. A RAM disk without room for four is left alone: containers have small
        ones."""
        fits = os.access(ram_disk, os.W_OK) and shutil.disk_usage(ram_disk).free >= 4 * size_bytes
        self._parent = ram_disk if fits else Path(tempfile.gettempdir())
        self._remove_orphans()
        fresh = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=self._parent))
        self._lock: int | None = os.open(fresh / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # held until this process ends, however it ends
        self.root = fresh.rename(self._parent / fresh.name.removeprefix("."))
        self.scratch = self.root / "tmp"
        self.scratch.mkdir()
        self.version = 0

    @property
    def path(self) -> Path:
        """The folder of the newest version."""
        return self.root / f"v{self.version:06d}"

    def add(self, write: Callable[[Path], object]) -> None:
        """Have `write` fill a folder, and make it the newest version."""
        half = self.root / _HALF
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        write(half)
        self.version += 1
        half.rename(self.path)

    def drop_old(self) -> None:
        """Remove every version but the newest: no request may still need one."""
        for folder in self.root.glob("v*"):
            if folder != self.path:
                shutil.rmtree(folder)

    def close(self) -> None:
        """Safe to call again."""
        shutil.rmtree(self.root, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _remove_orphans(self) -> None:
        """A killed process leaves its folder, and memory that nobody frees: its lock tells that the owner is gone."""
        for root in self._parent.glob(f"{_PREFIX}*"):
            try:
                lock = os.open(root / _LOCK, os.O_RDWR)
            except OSError:  # another user's, or being removed right now
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(root, ignore_errors=True)
            except BlockingIOError:
                pass
            finally:
                os.close(lock)
