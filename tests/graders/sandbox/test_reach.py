"""What lies outside the sandbox and must stay out of reach, from files to system calls, in both tiers."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

import pytest

pytestmark = pytest.mark.timeout(60)

Attempt = Callable[..., tuple[str, float | str]]

COUNTING = {
    "files of the host": """
import os, glob
def grade(sample, item):
    found = []
    for path in ["/etc/passwd", "/etc/shadow", "/root/.bashrc", "/proc/self/environ", "/proc/1/environ",
                 "/proc/self/maps", "/sys/kernel/notes", item["file"], item["product"], "/dev/mem", "/dev/sda"]:
        try:
            open(path, "rb").read(1); found.append(path)
        except OSError: pass
    for path in ("/root", "/home", "/etc", "/proc", "/tmp", "/sys", "/var", "/usr/bin", os.path.dirname(item["file"])):
        try:
            found += os.listdir(path)
        except OSError: pass
    assert not found, found
    return len(found)
""",
    "the environment, also below Python": """
import ctypes, os
def grade(sample, item):
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_char_p
    environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
    n, seen = 0, []
    while environ and environ[n]:
        seen.append(environ[n]); n += 1
    assert libc.getenv(b"FETTLE_SECRET_OF_THE_HOST") is None
    return (b"FETTLE_SECRET" in b"".join(seen)) + ("PATH" in os.environ) + ("FETTLE_SECRET" in repr(os.environ))
""",
    "files, folders and links anywhere": """
import os
def grade(sample, item):
    made = 0
    for folder in ("/", "/tmp", "/var/tmp", "/dev", "/dev/shm", "/run", "/proc", ".", os.path.dirname(os.__file__)):
        for n in range(1000):
            for make in (lambda p: open(p, "w").close(), os.mkdir, lambda p: os.symlink("/", p), os.mkfifo):
                try:
                    make(f"{folder}/bomb{n}"); made += 1
                except OSError: pass
            if not made: break
    file = item["file"]
    for change in (lambda: os.chmod(file, 0o777), lambda: os.utime(file), lambda: os.unlink(file),
                   lambda: os.truncate(file, 0), lambda: os.rename(file, file + "2")):
        try:
            change(); made += 1
        except OSError: pass
    return made
""",
    "sockets of every family": """
import socket
def grade(sample, item):
    made = 0
    for family in range(64):
        for kind in range(1, 7):
            try:
                socket.socket(family, kind); made += 1
            except OSError: pass
    for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        try:
            socket.socketpair(socket.AF_UNIX, kind); made += 1
        except OSError: pass
    for name in ("localhost", "example.com"):
        try:
            socket.getaddrinfo(name, 80); made += name != "localhost"
        except OSError: pass
    return made
""",
    "ways out of a pair of sockets": """
import ctypes, socket, struct
def grade(sample, item):
    one, other = socket.socketpair()
    libc, done = ctypes.CDLL(None, use_errno=True), 0
    to = (b"\\0fettle-bait", "/run/docker.sock", "/tmp/.X11-unix/X0")
    for address in to:
        for reach in (lambda: one.connect(address), lambda: one.sendto(b"x", address), lambda: one.bind(address),
                      lambda: one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", 0))]),
                      lambda: one.listen(), lambda: other.accept(), lambda: socket.create_connection(("127.0.0.1", 1)),
                      lambda: one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 30)):
            try:
                reach(); done += 1
            except OSError: pass
    for family in (socket.AF_VSOCK, socket.AF_NETLINK, socket.AF_ALG, socket.AF_PACKET, socket.AF_CAN):
        done += libc.socket(family, socket.SOCK_RAW, 0) != -1
    return done
""",
    "machine code of its own": """
import ctypes, mmap, platform
def grade(sample, item):
    if platform.machine() != "x86_64": return 0
    done = 0
    for number in (57, 58, 41, 59, 319, 323, 425, 101, 62):
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\\xb8" + number.to_bytes(4, "little") + b"\\x31\\xff\\x31\\xf6\\x0f\\x05\\xc3")
        run = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
        done += run() != -1  # EPERM
    return done
""",
    "secrets below a folder that can be read": """
import os
def grade(sample, item):
    found, folder = 0, os.open("/usr/lib", os.O_RDONLY)
    for path in ("../../etc/passwd", "../../proc/self/environ", "../../root", "../../" + item["file"]):
        try:
            found += os.open(path, os.O_RDONLY, dir_fd=folder) > 0
        except OSError: pass
    for path in ("/proc/self/mem", "/proc/self/fd", "/proc/self/root/etc", "/proc/1/cmdline", "/proc/self/cmdline",
                 "/proc/keys", "/proc/net/tcp", "/proc/net/unix", "/sys/class", "/run", "/var/run/secrets", "/dev/shm",
                 "/dev/pts", "/dev/kmsg", "/dev/tty", "/dev/vsock", "/dev/fd"):
        try:
            found += os.open(path, os.O_RDONLY) > 0
        except OSError: pass
    kinds = [os.fstat(n).st_mode >> 12 for n in range(3) if os.fstat(n)]
    return found + (kinds != [2, 2, 2])  # its own standard files are /dev/null
""",
    "other processes": """
import ctypes, os, signal
def grade(sample, item):
    libc, done = ctypes.CDLL(None, use_errno=True), 0
    for pid in (1, 2, os.getppid(), item["host"], -1, 0, -os.getpgrp(), os.getpid()):
        for number in (0, 9):
            try:
                os.kill(pid, number); done += 1
            except OSError: pass
        for request in (0, 16, 0x4206):
            done += libc.ptrace(request, pid, None, None) != -1
        done += libc.process_vm_readv(pid, None, 0, None, 0, 0) != -1
        try:
            os.pidfd_open(pid); done += 1
        except (OSError, ValueError): pass
    return done
""",
    "calls that graders never need": """
import ctypes
def grade(sample, item):
    libc, allowed = ctypes.CDLL(None, use_errno=True), []
    names = {"x86_64": dict(
        fork=57, vfork=58, execve=59, kill=62, tkill=200, tgkill=234, ptrace=101, chmod=90, chown=92,
        link=86, symlink=88, mknod=133, personality=135, modify_ldt=154, pivot_root=155, chroot=161,
        mount=165, umount=166, setxattr=188, io_setup=206, add_key=248, request_key=249, keyctl=250,
        inotify_init=253, unshare=272, shmget=29, semget=64, msgget=68, mq_open=240, perf_event_open=298,
        name_to_handle_at=303, open_by_handle_at=304, setns=308, process_vm_readv=310,
        process_vm_writev=311, kcmp=312, finit_module=313, memfd_create=319, kexec_file_load=320, bpf=321,
        execveat=322, userfaultfd=323, pkey_alloc=330, pidfd_send_signal=424, io_uring_setup=425,
        io_uring_enter=426, io_uring_register=427, open_tree=428, move_mount=429, fsopen=430, fsmount=432,
        pidfd_open=434, pidfd_getfd=438, mount_setattr=442, landlock_create_ruleset=444, memfd_secret=447,
        socket=41, connect=42, bind=49, setuid=105, setpriority=141, sched_setaffinity=203, vmsplice=278,
        prctl_seccomp=317, syslog=103, quotactl=179,
        accept=43, sendmsg=46, sendmmsg=307, recvmsg=47, listen=50, setsockopt=54, splice=275, tee=276, sendfile=40,
        copy_file_range=326, fanotify_init=300, timerfd_create=283, signalfd4=289, flock=73, setsid=112, sync=162,
        acct=163, swapon=167, reboot=169, init_module=175, process_madvise=440, futex_requeue=456, cachestat=451)}
    import platform
    for name, number in names.get(platform.machine(), {}).items():
        ctypes.set_errno(0)
        if libc.syscall(number, 0, 0, 0, 0, 0, 0) != -1 or ctypes.get_errno() != 1:
            allowed.append(name)
    for flags in (0x10000000, 0x20000, 0x40000000, 17, 0x00010100 | 0x10000000):  # namespaces and processes by clone
        ctypes.set_errno(0)
        if libc.syscall(56, flags, 0, 0, 0, 0) != -1 or ctypes.get_errno() != 1:
            allowed.append(f"clone {flags:x}")
    assert not allowed, allowed
    return len(allowed)
""",
}


@pytest.mark.parametrize("name", COUNTING)
def test_nothing_outside_can_be_reached(
    attempt: Attempt, name: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these returns how often it got through."""
    monkeypatch.setenv("FETTLE_SECRET_OF_THE_HOST", "x")
    bait = tmp_path_factory.mktemp("bait") / "bait.txt"
    bait.write_text("bait")
    for folder in (bait.parent, *bait.parent.parents[:2]):
        with suppress(PermissionError):
            folder.chmod(0o755)
    bait.chmod(0o666)
    product = __file__
    item = f'{{"file": "{bait}", "host": {os.getpid()}, "product": "{product}"}}'
    assert attempt(COUNTING[name], item) == ("ok", 0.0)
    assert bait.read_text() == "bait"
    assert [entry.name for entry in bait.parent.iterdir()] == ["bait.txt"]
