"""Unpack a downloaded adapter without trusting the archive."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from fettle.errors import DownloadRefused


def extract(source: Path | BinaryIO, target: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the files of a zip archive below `target` and return their paths, in the archive's order.

    Nothing is written unless every member is acceptable.

    Raises:
        DownloadRefused: a member would land outside `target`, is a link, or exists already and `overwrite` is off;
            or the bytes are no zip archive.
    """
    try:
        archive = zipfile.ZipFile(source)
    except zipfile.BadZipFile as error:
        raise DownloadRefused(f"the server did not send a zip archive: {error}") from error
    with archive:
        members = [(member, target / _safe_name(member)) for member in archive.infolist() if not member.is_dir()]
        existing = [path for _, path in members if path.exists() or path.is_symlink()]
        if existing and not overwrite:
            raise DownloadRefused(
                f"{existing[0]} exists already", fix="Choose an empty folder, or pass overwrite=True (--overwrite)."
            )
        for member, path in members:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(archive, member, path)
    return [path for _, path in members]


def _safe_name(member: zipfile.ZipInfo) -> PurePosixPath:
    name = PurePosixPath(member.filename)
    unsafe = name.is_absolute() or ".." in name.parts or "\\" in member.filename or ":" in member.filename
    if unsafe or not name.parts:
        raise DownloadRefused(f"the archive holds the unsafe path {member.filename!r}; nothing was written")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise DownloadRefused(f"the archive holds the link {member.filename!r}; nothing was written")
    return name


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    """Through a temporary sibling, so that a broken archive never leaves half a file under the final name."""
    partial = path.with_name(path.name + ".part")
    try:
        with archive.open(member) as reader, partial.open("wb") as writer:
            while chunk := reader.read(1 << 20):
                writer.write(chunk)
        partial.replace(path)
    except zipfile.BadZipFile as error:
        raise DownloadRefused(f"{member.filename} is damaged: {error}", fix="Download it again.") from error
    finally:
        partial.unlink(missing_ok=True)
