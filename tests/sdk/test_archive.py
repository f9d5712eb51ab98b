from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from fettle import DownloadRefused
from fettle.archive import extract


def archive(*names: str, link: str | None = None) -> io.BytesIO:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as writer:
        for name in names:
            writer.writestr(name, name)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = 0o120777 << 16
            writer.writestr(info, "/etc/passwd")
    sink.seek(0)
    return sink


def test_files_land_below_the_target(tmp_path: Path) -> None:
    written = extract(archive("adapter_config.json", "sub/adapter_model.safetensors"), tmp_path / "out")
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        "out/adapter_config.json",
        "out/sub/adapter_model.safetensors",
    ]
    assert written[1].read_text() == "sub/adapter_model.safetensors"


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "C:/evil", "..\\evil"])
def test_a_path_outside_the_target_is_refused_and_nothing_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(DownloadRefused, match="unsafe path"):
        extract(archive("good.txt", name), tmp_path / "out")
    assert list(tmp_path.rglob("*")) == []


def test_a_link_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DownloadRefused, match="link"):
        extract(archive("good.txt", link="passwd"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_existing_files_stay_unless_overwriting_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine")
    with pytest.raises(DownloadRefused, match="exists already"):
        extract(archive("a.txt"), tmp_path)
    assert (tmp_path / "a.txt").read_text() == "mine"
    extract(archive("a.txt"), tmp_path, overwrite=True)
    assert (tmp_path / "a.txt").read_text() == "a.txt"


def test_bytes_that_are_no_archive_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DownloadRefused, match="not send a zip archive"):
        extract(io.BytesIO(b"<html>"), tmp_path)


def test_a_damaged_member_leaves_no_half_file(tmp_path: Path) -> None:
    content = archive("a.txt").getvalue().replace(b"a.txt", b"a.txt").replace(b"a.txtPK", b"b.txtPK", 1)
    with pytest.raises(DownloadRefused, match=r"a\.txt is damaged"):
        extract(io.BytesIO(content), tmp_path)
    assert list(tmp_path.iterdir()) == []
