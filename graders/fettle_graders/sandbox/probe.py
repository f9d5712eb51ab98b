"""Tries to break out. The self-test sends this file's text into a jail as the grader; it scores 0.5 when all failed.

It is not imported by the host. `item` says where the host put its bait.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Callable
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000


def grade(sample: dict[str, Any], item: dict[str, Any]) -> float:
    escapes: list[str] = []

    def must_fail(name: str, attempt: Callable[..., object], *arguments: object) -> None:
        try:
            attempt(*arguments)
        except (OSError, MemoryError):
            return
        escapes.append(name)

    def refused(name: str, *arguments: object) -> None:
        """A C function that returns -1 when the kernel says no."""
        if getattr(_libc, name)(*arguments) != -1:
            escapes.append(name)

    def read(path: str) -> None:
        with open(path, "rb") as file:
            file.read(1)

    def connect(family: int, kind: int, address: Any) -> None:
        with socket.socket(family, kind) as end:
            end.connect(address)

    for path in (item["file"], "/etc/passwd", "/etc/hostname", "/dev/mem", "/dev/kvm", "/proc/self/environ"):
        must_fail(f"read {path}", read, path)
    for pid in (1, item["host"], item["victim"]):
        for name in ("environ", "maps", "mem", "cmdline", "root/etc/passwd"):
            must_fail(f"read /proc/{pid}/{name}", read, f"/proc/{pid}/{name}")
    if item["secret"] in repr(os.environ):
        escapes.append("the host's environment")
    for family in range(46):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
            must_fail(f"socket of family {family}", socket.socket, family, kind)
    must_fail("connect TCP", lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", item["tcp"])))
    must_fail("connect unix", lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, item["unix"]))
    must_fail("connect abstract", lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + item["abstract"]))
    must_fail("datagram pair", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
    must_fail("fork", _fork)
    must_fail("spawn", lambda: subprocess.run(["/bin/true"], check=True))
    must_fail("exec", lambda: os.execv("/usr/bin/true", ["true"]))
    for signal in (0, 9):
        for pid in (item["victim"], item["host"], 1, -1):
            must_fail(f"signal {signal} to {pid}", os.kill, pid, signal)
    must_fail("pidfd_open", lambda: os.pidfd_open(item["victim"]))
    refused("ptrace", 16, item["victim"], None, None)
    refused("process_vm_readv", item["victim"], None, 0, None, 0, 0)
    refused("unshare", _NEW_USER)
    refused("unshare", _NEW_NET)
    refused("mount", b"none", b"/", b"tmpfs", 0, None)
    refused("chroot", b"/")
    refused("setuid", 0)
    refused("personality", 0x0040000)
    for number in (425, 434, 437, 438, 442, 428, 429):  # io_uring_setup, pidfd_open, openat2, pidfd_getfd, mounts
        if _libc.syscall(number, 0, 0, 0, 0) >= 0 or ctypes.get_errno() not in (1, 38):
            escapes.append(f"system call {number}")
    must_fail("memfd_create", lambda: os.memfd_create("x"))
    folder = os.path.dirname(item["file"])
    for path in (folder, "/tmp", "/", "/dev", "/dev/shm", os.path.dirname(os.__file__)):
        must_fail(f"write in {path}", open, f"{path}/bait", "w")
        must_fail(f"folder in {path}", os.mkdir, f"{path}/bait")
    must_fail("chmod", lambda: os.chmod(item["file"], 0o777))
    must_fail("utime", lambda: os.utime(item["file"]))
    must_fail("link", lambda: os.symlink("/", f"{folder}/link"))
    must_fail("unlink", lambda: os.unlink(item["file"]))
    must_fail("memory over the limit", lambda: bytearray(item["memory_bytes"]))
    if escapes:
        raise RuntimeError("; ".join(escapes))
    return 0.5


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)
