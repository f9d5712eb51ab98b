"""Adapter folders for another process: whole when seen, a fresh path each, gone with their owner."""

import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fettle_workers.adapters.adapter_versions import AdapterVersions


@pytest.fixture
def versions(tmp_path):
    made = AdapterVersions(size_bytes=100, ram_disk=tmp_path)
    yield made
    made.close()


def write(text):
    return lambda folder: (folder / "weights").write_text(text)


def test_each_version_has_a_fresh_path_and_old_ones_go_when_told(versions):
    versions.add(write("one"))
    first = versions.path
    versions.add(write("two"))
    assert (first / "weights").read_text() == "one"
    assert (versions.path / "weights").read_text() == "two"
    versions.drop_old()
    assert [folder.name for folder in versions.root.glob("v*")] == ["v000002"]
    versions.add(write("three"))
    assert versions.path.name == "v000003"


def test_a_version_whose_writing_failed_is_never_seen(versions):
    def fail(folder):
        (folder / "weights").write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        versions.add(fail)
    assert not list(versions.root.glob("v*"))
    versions.add(write("whole"))
    assert sorted(path.name for path in versions.path.iterdir()) == ["weights"]


def test_the_folder_of_a_killed_owner_is_removed_by_the_next_and_a_living_ones_stays(tmp_path, versions):
    script = (
        "import sys, time; from pathlib import Path; from fettle_workers.adapters.adapter_versions import *\n"
        "versions = AdapterVersions(size_bytes=1, ram_disk=Path(sys.argv[1]))\n"
        "print(versions.root, flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    orphan = Path(owner.stdout.readline().strip())
    AdapterVersions(size_bytes=1, ram_disk=tmp_path).close()
    assert orphan.is_dir()
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    AdapterVersions(size_bytes=1, ram_disk=tmp_path).close()
    assert not orphan.exists()
    assert versions.root.is_dir()


def test_closing_leaves_nothing(tmp_path):
    versions = AdapterVersions(size_bytes=1, ram_disk=tmp_path)
    versions.add(write("one"))
    versions.close()
    versions.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("why", ["too small", "absent"])
def test_without_a_ram_disk_that_fits_they_are_in_the_temporary_folder(tmp_path, why):
    """Four versions have to fit; a container's RAM disk is often 64 MB."""
    free = shutil.disk_usage(tmp_path).free
    ram_disk, size_bytes = (tmp_path, free // 3) if why == "too small" else (tmp_path / "none", 1)
    versions = AdapterVersions(size_bytes=size_bytes, ram_disk=ram_disk)
    assert versions.root.parent == Path(tempfile.gettempdir())
    versions.close()
