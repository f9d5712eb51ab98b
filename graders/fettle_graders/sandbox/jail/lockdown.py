"""Gives up every right that graders do not need, for good. Called before the first byte of a user is read.

Both tiers end here; `namespaces` merely has a smaller file system around it. What cannot be given up raises OSError.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
from collections.abc import Mapping, Sequence
from typing import Any

_SET_PDEATHSIG, _SET_DUMPABLE, _SET_NO_NEW_PRIVS = 1, 4, 38  # prctl
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # landlock_*; the same numbers on every machine
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
# How many file rights a Landlock version knows. The network's came with 4, signals and abstract sockets with 6.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_FILE_RIGHTS_NEWEST = 16
_NUM_CPUS = 2

_libc = ctypes.CDLL(None, use_errno=True)
_Long = ctypes.c_long


def lock_down(config: Mapping[str, Any]) -> None:
    """Limits, Landlock, no_new_privs, seccomp, in that order.

    Args:
        config: `read` (paths that stay readable), `landlock` (whether to use it), `seccomp` (the program, hex),
            `limits` (name of a resource without RLIMIT_ -> bytes, seconds or a count).

    Raises:
        OSError: the kernel refused a step.
        PermissionError: this is still uid 0.
    """
    if 0 in os.getresuid() + os.getresgid() or os.getgroups():
        raise PermissionError("uid 0, gid 0 and supplementary groups must be dropped before")
    cpus = sorted(os.sched_getaffinity(0), key=lambda cpu: (cpu + os.getpid()) % 61)
    os.sched_setaffinity(0, cpus[:_NUM_CPUS])
    set_limits(config["limits"])
    _call(_libc.prctl, _SET_DUMPABLE, 0, 0, 0, 0)
    _call(_libc.prctl, _SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if config["landlock"]:
        _allow_reading(config["read"])
    load_filter(bytes.fromhex(config["seccomp"]))


def set_limits(limits: Mapping[str, int]) -> None:
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the *thread* that started it ends.

    After a change of uid, which would forget it. Raises ProcessLookupError: the parent is gone already.
    """
    _call(_libc.prctl, _SET_PDEATHSIG, 9, 0, 0, 0)
    if os.getppid() != parent:
        raise ProcessLookupError("the parent has ended")


def load_filter(program: bytes) -> None:
    """Load a seccomp program on every thread, on top of the loaded ones: the strictest answer counts."""
    code = ctypes.create_string_buffer(program, len(program))
    argument = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
    set_mode_filter, every_thread = 1, 1
    _call(_libc.syscall, _SECCOMP[platform.machine()], set_mode_filter, every_thread, ctypes.addressof(argument))


def landlock_version() -> int:
    """0 where the kernel has no Landlock or it is switched off."""
    return max(0, int(_libc.syscall(_Long(_CREATE_RULESET), None, _Long(0), _Long(1))))


def _allow_reading(paths: Sequence[str]) -> None:
    version = landlock_version()
    if version < 1:
        raise OSError("this kernel has no Landlock")
    files = (1 << _FILE_RIGHTS.get(version, _FILE_RIGHTS_NEWEST)) - 1
    network = 0b11 if version >= 4 else 0
    scopes = 0b11 if version >= 6 else 0
    rules = struct.pack("=QQQ", files, network, scopes)
    ruleset = _call(_libc.syscall, _CREATE_RULESET, rules, len(rules), 0)
    for path in paths:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rights = _READ_FILE | _READ_DIR if os.path.isdir(path) else _READ_FILE
        path_beneath = 1
        _call(_libc.syscall, _ADD_RULE, ruleset, path_beneath, struct.pack("=Qi", rights, descriptor), 0)
        os.close(descriptor)
    _call(_libc.syscall, _RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _call(function: Any, *arguments: int | bytes) -> int:  # a function of libc
    """Raises OSError with the kernel's reason. Integers are passed as long: a vararg int would be cut."""
    result = function(*(_Long(a) if isinstance(a, int) else a for a in arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{os.strerror(code)} at {function.__name__}{arguments[:1]}")
    return int(result)
