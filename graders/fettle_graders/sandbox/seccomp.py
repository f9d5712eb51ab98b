"""The system calls that jailed code may make, as a seccomp program. Everything else fails with EPERM.

The numbers are written out for the two machines we know, so that nothing needs libseccomp: they never change, as they
are the kernel's promise to programs (`asm/unistd.h`). An allow-list by name, so both machines have the same policy.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Iterator
from typing import Literal

Profile = Literal["runner", "fork_server"]

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_*
# name: (number on x86_64, on aarch64); None where the machine has no such call. Reading files is Landlock's matter.
# fmt: off
_ALLOWED: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67),
    "pwrite64": (18, 68), "preadv": (295, 69), "preadv2": (327, 286), "lseek": (8, 62), "close": (3, 57),
    "close_range": (436, 436), "fstat": (5, 80), "stat": (4, None), "lstat": (6, None), "newfstatat": (262, 79),
    "statx": (332, 291), "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "readlink": (89, None), "readlinkat": (267, 78), "getdents": (78, None), "getdents64": (217, 61),
    "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50), "statfs": (137, 43), "fstatfs": (138, 44),
    "fadvise64": (221, 223), "open": (2, None), "openat": (257, 56), "mmap": (9, 222), "mprotect": (10, 226),
    "munmap": (11, 215), "mremap": (25, 216), "brk": (12, 214), "madvise": (28, 233), "mincore": (27, 232),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137), "sigaltstack": (131, 132), "setitimer": (38, 103), "getitimer": (36, 102),
    "alarm": (37, None), "restart_syscall": (219, 128), "futex": (202, 98), "futex_waitv": (449, 449),
    "set_robust_list": (273, 99), "get_robust_list": (274, 100), "set_tid_address": (218, 96), "rseq": (334, 293),
    "membarrier": (324, 283), "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101), "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153), "select": (23, None),
    "pselect6": (270, 72), "poll": (7, None), "ppoll": (271, 73), "epoll_create": (213, None),
    "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, None), "epoll_pwait": (281, 22),
    "epoll_pwait2": (441, 441), "eventfd": (284, None), "eventfd2": (290, 19), "pipe": (22, None), "pipe2": (293, 59),
    "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "sendto": (44, 206), "recvfrom": (45, 207),
    "getrandom": (318, 278), "uname": (63, 160), "sysinfo": (99, 179), "getrusage": (98, 165), "getrlimit": (97, 163),
    "setrlimit": (160, 164), "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173), "getpgrp": (111, None),
    "getpgid": (121, 155), "getsid": (124, 156), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176),
    "getegid": (108, 177), "getgroups": (115, 158), "getresuid": (118, 148), "getresgid": (120, 150),
    "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120), "sched_get_priority_max": (146, 125), "sched_get_priority_min": (147, 126),
    "getpriority": (140, 141), "getcpu": (309, 168), "exit": (60, 93), "exit_group": (231, 94),
}
_CHECKED: dict[str, tuple[int | None, int | None]] = {
    "clone": (56, 220), "clone3": (435, 435), "prlimit64": (302, 261), "socketpair": (53, 199), "ioctl": (16, 29),
    "fcntl": (72, 25), "prctl": (157, 167), "fork": (57, None), "wait4": (61, 260), "seccomp": (317, 277),
    "memfd_create": (319, 279),
}
# fmt: on
_THREAD, _NEW_NAMESPACES = 0x00010100, 0x7E020000  # CLONE_VM | CLONE_THREAD; CLONE_NEW*
_IOCTLS = (0x5401, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS FIONREAD FIONBIO FIONCLEX FIOCLEX
_FCNTLS = (0, 1, 2, 3, 4, 1030)  # DUPFD GETFD SETFD GETFL SETFL DUPFD_CLOEXEC; not SETOWN, SETLEASE, NOTIFY, SETPIPE_SZ
_PRCTLS = (3, 15, 16)  # GET_DUMPABLE SET_NAME GET_NAME
_SET_PDEATHSIG = 1

_LOAD, _JUMP_EQUAL, _JUMP_NOT_BELOW, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06  # BPF opcodes on 32-bit words
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000  # SECCOMP_RET_*
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; arguments are 64-bit, low word first

_Instruction = tuple[int, int, int, int]  # opcode, jump if true, jump if false, constant


def seccomp_program(profile: Profile, *, machine: str = "") -> bytes:
    """The filter as the kernel takes it, an array of `struct sock_filter`.

    Args:
        profile: `runner` has no way to make a process. `fork_server` can fork, wait, make files in memory, and load a
            further filter; it is for a parent that runs no code but ours, whose children load `runner` on top.

    Raises:
        ValueError: a machine that we have no system call numbers for.
    """
    machine = machine or platform.machine()
    if machine not in MACHINES:
        raise ValueError(f"no system call table for {machine}; there is one for {' and '.join(MACHINES)}")
    program = [(_LOAD, 0, 0, _ARCH), (_JUMP_EQUAL, 1, 0, MACHINES[machine]), (_RETURN, 0, 0, _KILL)]
    program.append((_LOAD, 0, 0, _NUMBER))
    if machine == "x86_64":  # the x32 numbers reach the same calls
        program += [(_JUMP_NOT_BELOW, 0, 1, 0x40000000), (_RETURN, 0, 0, _KILL)]
    column = tuple(MACHINES).index(machine)
    for name, numbers in (_ALLOWED | _CHECKED).items():
        number = numbers[column]
        body = [(_RETURN, 0, 0, _ALLOW)] if name in _ALLOWED else list(_checks(name, profile))
        if number is not None and body:
            program += [(_JUMP_EQUAL, 0, len(body), number), *body]
    program.append((_RETURN, 0, 0, _ERRNO | errno.EPERM))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


def _checks(name: str, profile: Profile) -> Iterator[_Instruction]:
    """What decides about a call that is allowed only with some arguments. It always ends with a return."""
    is_server = profile == "fork_server"
    match name:
        case "clone3":  # its flags are in memory, out of a filter's reach; libc then takes clone
            yield (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)
        case "clone" if is_server:
            yield from _when(0, (0,), mask=_NEW_NAMESPACES)
        case "clone":
            yield from _when(0, (_THREAD,), mask=_THREAD | _NEW_NAMESPACES)
        case "prlimit64":
            yield from _when(0, (0,))  # this process
        case "socketpair":  # asyncio needs one; a datagram pair could still send to a named socket
            yield from (_argument(0), (_JUMP_EQUAL, 1, 0, 1), (_RETURN, 0, 0, _ERRNO | errno.EPERM))  # AF_UNIX
            yield from _when(1, (1,), mask=~0o2004000)  # SOCK_STREAM, whatever CLOEXEC and NONBLOCK
        case "ioctl":
            yield from _when(1, _IOCTLS)
        case "fcntl":
            yield from _when(1, _FCNTLS)
        case "prctl":
            yield from _when(0, (*_PRCTLS, _SET_PDEATHSIG) if is_server else _PRCTLS)
        case "fork" | "wait4" | "seccomp" | "memfd_create" if is_server:
            yield (_RETURN, 0, 0, _ALLOW)


def _when(argument: int, values: tuple[int, ...], *, mask: int = 0xFFFFFFFF) -> Iterator[_Instruction]:
    """Allow when the argument's low word, masked, is one of the values. The kernel ignores the high word of these."""
    yield _argument(argument)
    yield (_AND, 0, 0, mask & 0xFFFFFFFF)
    for position, value in enumerate(values):
        yield (_JUMP_EQUAL, len(values) - position, 0, value)
    yield (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    yield (_RETURN, 0, 0, _ALLOW)


def _argument(index: int) -> _Instruction:
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * index)
