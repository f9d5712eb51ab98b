"""The folders keep their promises: nothing hides the standard library, and each side runs without the other."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE_ROOTS = {
    "platform": "fettle_platform",
    "workers": "fettle_workers",
    "graders": "fettle_graders",
    "sdk": "fettle",
}


def run_python(source: str, cwd: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, "-c", source], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(("folder", "package"), SOURCE_ROOTS.items())
def test_a_source_root_holds_one_package_and_no_python_file(folder, package):
    assert [path.name for path in (ROOT / folder).glob("*.py")] == []
    assert [path.parent.name for path in (ROOT / folder).glob("*/__init__.py")] == [package]


def test_the_standard_librarys_platform_is_not_hidden():
    found = run_python("import platform; print(platform.__file__)")
    assert Path(found) == Path(run_python("import sysconfig; print(sysconfig.get_path('stdlib'))")) / "platform.py"


def test_no_test_folder_is_a_package():
    assert list((ROOT / "tests").rglob("__init__.py")) == []


IMPORT_ALL = """
import importlib, os, pkgutil, sys
for name in {absent!r}:
    sys.modules[name] = None  # importing it fails as if it were not installed
os.environ["FETTLE_WORKER_TOKEN"] = "t"
{setup}
package = importlib.import_module({package!r})
names = [module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    if not name.endswith("__main__") and name not in {left_out!r}:
        importlib.import_module(name)
print(len(names))
"""


def import_all(package: str, *, absent: list[str], setup: str = "", left_out: tuple[str, ...] = ()) -> int:
    return int(run_python(IMPORT_ALL.format(package=package, absent=absent, setup=setup, left_out=left_out)))


def test_the_control_plane_runs_where_torch_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setenv("FETTLE_DATA_DIR", str(tmp_path))
    setup = "os.environ['DJANGO_SETTINGS_MODULE'] = 'fettle_platform.config.settings'\nimport django; django.setup()"
    torch = ["torch", "transformers", "peft", "tokenizers", "safetensors"]
    assert import_all("fettle_platform", absent=torch, setup=setup) > 40


def test_the_workers_run_where_django_is_not_installed():
    assert import_all("fettle_workers", absent=["django", "rest_framework", "drf_spectacular", "psycopg"]) > 30


def test_the_graders_run_alone():
    absent = ["django", "torch", "transformers", "celery", "boto3", "httpx", "fettle_workers", "fettle_platform"]
    assert import_all("fettle_graders", absent=absent) > 5


def test_the_client_runs_alone():
    absent = [
        "django",
        "torch",
        "transformers",
        "celery",
        "boto3",
        "fettle_workers",
        "fettle_platform",
        "fettle_graders",
    ]
    assert import_all("fettle", absent=absent) > 5


def test_nothing_of_a_machine_is_in_the_repository():
    """Lock files name packages, versions and hashes, never where they came from."""
    for lock in (ROOT / "requirements").glob("*.txt"):
        assert "://" not in lock.read_text("utf-8")
