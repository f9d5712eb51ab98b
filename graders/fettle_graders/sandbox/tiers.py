"""How a jail is started: the two tiers, what stays readable in them, and their limits."""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import shutil
import stat
import sys
import sysconfig
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from fettle_graders.sandbox.jail.lockdown import landlock_version
from fettle_graders.sandbox.seccomp import Profile, seccomp_program

Tier = Literal["namespaces", "lockdown"]
TIERS: tuple[Tier, ...] = ("namespaces", "lockdown")
Program = Literal["runner", "fork_server"]


def tiers_from(minimum: Tier) -> tuple[Tier, ...]:
    """The tiers that are at least as strong, best first."""
    return TIERS[: TIERS.index(minimum) + 1]


JAIL = Path(__file__).resolve().parent / "jail"
# Between the ranges that systemd hands out and 65534; no entry in /etc/passwd is needed. Each worker takes the next.
_UIDS = range(60706, 61184)
_EXTRA_TASKS = 256  # room for the threads that the host's own user starts later, where all share one count


@dataclass(frozen=True)
class Limits:
    """Of one worker. The wire's own are 2 minutes and 2 GB; a program's tests are shorter."""

    call_s: float = 120.0
    load_s: float = 30.0
    memory_bytes: int = 2 * 1024**3
    num_threads: int = 32
    num_files: int = 64
    file_bytes: int = 64 * 1024**2
    max_calls: int = 10_000

    def as_resources(self) -> dict[str, int]:
        return {
            "AS": self.memory_bytes,
            "NPROC": self.num_threads,
            "NOFILE": self.num_files,
            "FSIZE": self.file_bytes,
            "CPU": 24 * 3600,
            "CORE": 0,
            "MEMLOCK": 0,
            "MSGQUEUE": 0,
        }


class TierUnavailable(Exception):
    """This tier cannot be started on this machine; the message says why."""


def jail_config(tier: Tier, program: Program, limits: Limits, pipes: tuple[int, int], me: int) -> dict[str, Any]:
    """What `jail/launch.py` is to do, as a JSON object.

    Args:
        pipes: the jail's ends of requests and replies.
        me: the descriptor by which the jail will read this.

    Raises:
        TierUnavailable: a part that the tier is made of is missing.
    """
    is_root = os.geteuid() == 0
    has_landlock = landlock_version() > 0
    if tier == "lockdown" and not has_landlock:
        raise TierUnavailable("this kernel has no Landlock (or it is not in the kernel's lsm list)")
    profile: Profile = program
    packages, read = _packages(), _readable()
    config: dict[str, Any] = {
        "program": program,
        "pipes": pipes,
        "uid": next(_next_uid),
        "counts_tasks": tier == "lockdown" and not is_root,
        "limits": limits.as_resources(),
        "read": read,
        "packages": packages,
        "landlock": has_landlock,
        "seccomp": _program(profile).hex(),
        "runner_seccomp": _program("runner").hex(),
        "environment": _ENVIRONMENT | {"NLTK_DATA": os.pathsep.join(f"{path}/nltk_data" for path in packages)},
        "bwrap": [],  # its command line, where it is used
    }
    if tier == "lockdown" and not is_root:
        config["limits"]["NPROC"] += _EXTRA_TASKS
    if tier == "namespaces":
        config["bwrap"] = [*_bubblewrap(read), *python_command(f"{program}.py"), str(me)]
    return config


def python_command(file: str) -> list[str]:
    """Runs a file of the jail in this interpreter, with nothing else on its path."""
    return [os.path.realpath(sys.executable), "-I", "-S", "-B", str(JAIL / file)]


@lru_cache(maxsize=1)
def policy_version() -> str:
    """Changes whenever anything that confines code does."""
    files = [*sorted(JAIL.glob("*.py")), Path(__file__), Path(__file__).with_name("seccomp.py")]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:12]


def limits_shown(limits: Limits) -> dict[str, Any]:
    return asdict(limits) | {"network": "none", "writable_files": "none", "processes": 1, "source_bytes": 256 * 1024}


_ENVIRONMENT = {
    "HOME": "/",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}
_next_uid = itertools.cycle(_UIDS[(offset := secrets.randbelow(len(_UIDS))) :] or _UIDS)
_program = lru_cache(seccomp_program)


def _bubblewrap(read: list[str]) -> list[str]:
    """Raises TierUnavailable: not installed, or setuid root, which had its own holes (CVE-2020-5291)."""
    found = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin:" + os.environ.get("PATH", ""))
    if found is None:
        raise TierUnavailable("bubblewrap is not installed (apt-get install bubblewrap)")
    if os.stat(found).st_mode & (stat.S_ISUID | stat.S_ISGID):
        raise TierUnavailable(f"{found} is setuid; only an ordinary bubblewrap is used")
    # No --proc: the first process's environment would be the launcher's. No --disable-userns: it needs /proc/sys.
    # --dir /dev and not --dev: that one is a writable tmpfs of any size.
    arguments = [found, "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    arguments += ["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--hostname", "jail"]
    for path in read:
        if path in ("/dev/null", "/dev/urandom"):
            continue
        is_link = os.path.islink(path)
        arguments += ["--symlink", os.readlink(path), path] if is_link else ["--ro-bind", path, path]
    arguments += ["--dir", "/dev", "--dev-bind", "/dev/null", "/dev/null"]
    arguments += ["--dev-bind", "/dev/urandom", "/dev/urandom", "--remount-ro", "/", "--chdir", "/"]
    # No --info-fd: with nobody left to read it bubblewrap would end and leave its child waiting for good.
    return [*arguments, "--"]


def _packages() -> list[str]:
    """Where third-party packages lie; never the folders of the product's own sources."""
    names = ("site-packages", "dist-packages")
    found = [os.path.realpath(path) for path in sys.path if os.path.basename(path.rstrip("/")) in names]
    return [path for path in dict.fromkeys(found) if os.path.isdir(path)]


@lru_cache(maxsize=1)
def _readable() -> list[str]:
    package = JAIL.parents[1]
    paths = [str(JAIL), f"{package}/__init__.py", f"{package}/sandbox/__init__.py"]
    paths += [os.path.realpath(sys.executable), *_packages()]
    paths += [os.path.realpath(sysconfig.get_path("stdlib"))]
    paths += [f"{os.path.dirname(os.path.realpath(os.__file__))}/lib-dynload"]
    library = f"{sysconfig.get_config_var('LIBDIR')}/{sysconfig.get_config_var('INSTSONAME')}"
    paths += [library] if sysconfig.get_config_var("Py_ENABLE_SHARED") else []
    paths += ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo"]
    paths += ["/dev/null", "/dev/urandom"]
    return [path for path in dict.fromkeys(paths) if os.path.exists(path)]
