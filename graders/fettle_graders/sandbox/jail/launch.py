"""Started by the host, `launch.py DESCRIPTOR`: drops root, ties itself to the host, and becomes the jail.

Root is needed for one thing only: an interpreter that lies where nobody else may look (`/root/.pyenv`) is made
visible in a private mount namespace, at its own path, with nothing else beside it.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import stat
import sys
from typing import Any

sys.path.insert(0, os.path.abspath(__file__).rsplit("/", 4)[0])

from fettle_graders.sandbox.jail import lockdown
from fettle_graders.sandbox.jail.frames import read_config

_NEW_MOUNTS = 0x20000
_REMOUNT, _BIND, _RECURSIVE, _PRIVATE, _READ_ONLY = 0x20, 0x1000, 0x4000, 0x40000, 1
_NOSUID_NODEV = 2 | 4

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    config: dict[str, Any] = read_config(keep=True)
    program = importlib.import_module(f"fettle_graders.sandbox.jail.{config['program']}")
    host = os.getppid()
    with open("/proc/self/oom_score_adj", "w") as file:  # out of memory: this before anything else
        file.write("1000")
    if os.geteuid() == 0:
        _expose([path for path in config["read"] if not _is_reachable(path)])
        os.setgroups([])
        os.setresgid(config["uid"], config["uid"], config["uid"])
        os.setresuid(config["uid"], config["uid"], config["uid"])
    config["limits"]["NPROC"] += _num_tasks(os.getuid()) if config["counts_tasks"] else 0
    if config["bwrap"]:
        # It ties itself to the host (--die-with-parent). Not earlier: dying before it has released its child, it would
        # leave that one waiting for good. A jail whose host is gone by then ends with the pipe of its requests.
        os.execve(config["bwrap"][0], config["bwrap"], {})
    lockdown.die_with_parent(host)
    os.close(int(sys.argv[1]))
    program.main(config)


def _is_reachable(path: str) -> bool:
    """Whether a stranger may go there: every folder above is open to all, and the thing itself is readable to all."""
    parts = [path]
    while parts[-1] != "/":
        parts.append(os.path.dirname(parts[-1]))
    modes = [os.stat(part).st_mode for part in parts]
    return all(mode & stat.S_IXOTH for mode in modes[1:]) and bool(modes[0] & stat.S_IROTH)


def _expose(paths: list[str]) -> None:
    """Show only these paths of the folders that are closed to strangers, in mounts that nobody else sees.

    Raises:
        OSError: no right to mount, as in a container without CAP_SYS_ADMIN.
    """
    if not paths:
        return
    if _libc.unshare(_NEW_MOUNTS) != 0:
        raise OSError(
            f"{paths[0]} is closed to other users and cannot be shown to the sandbox without the right to mount; "
            "install Python where everyone can read it, or do not run as root"
        )
    _mount("none", "/", None, _RECURSIVE | _PRIVATE)
    closed = {path: _closed_folder(path) for path in paths}
    found = {path: os.open(path, os.O_PATH) for path in paths}
    for folder in sorted(set(closed.values())):
        if not any(folder.startswith(f"{other}/") for other in closed.values()):
            _mount("none", folder, "tmpfs", _NOSUID_NODEV, "size=1m,nr_inodes=1k,mode=755")
    for path, descriptor in found.items():
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.makedirs(path, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            open(path, "a").close()
        _mount(f"/proc/self/fd/{descriptor}", path, None, _BIND)
        os.close(descriptor)


def _closed_folder(path: str) -> str:
    """The highest folder above the path that strangers cannot enter; the path's own folder when only it is closed."""
    folders = [path]
    while folders[-1] != "/":
        folders.append(os.path.dirname(folders[-1]))
    return next((f for f in reversed(folders[1:]) if not os.stat(f).st_mode & stat.S_IXOTH), os.path.dirname(path))


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    texts = [text.encode() if text is not None else None for text in (source, target, kind)]
    if _libc.mount(*texts, ctypes.c_ulong(flags), options.encode()) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"mounting {target} for the sandbox: {os.strerror(code)}")


def _num_tasks(uid: int) -> int:
    """Threads that this user runs now: RLIMIT_NPROC counts them all where users share one count."""
    count = 0
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and os.stat(f"/proc/{entry}").st_uid == uid:
                count += len(os.listdir(f"/proc/{entry}/task"))
        except OSError:  # it has ended, or hides its threads
            continue
    return count


if __name__ == "__main__":
    main()
