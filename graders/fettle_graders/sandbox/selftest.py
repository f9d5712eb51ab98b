"""Whether a jail holds: a worker of the tier gets a grader that tries to break out, with bait to find.

A tier is used only after this has passed on this machine, in this process; see `probe.py` for the attempts.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fettle_graders.sandbox.jail import values
from fettle_graders.sandbox.jail.frames import CALL, LOAD, OK, RUN, VALUE
from fettle_graders.sandbox.tiers import Limits, Program, Tier, TierUnavailable
from fettle_graders.sandbox.worker import Worker, WorkerDied

_PROBE = Path(__file__).with_name("probe.py")
_NAMESPACES = ("user", "pid", "net", "ipc", "uts", "mnt")
_TIME_S = 20


def self_test(tier: Tier, limits: Limits, start: Callable[[Tier, Program, Limits], Worker] = Worker) -> list[str]:
    """Try to break out of a jail of this tier.

    Args:
        start: makes the worker; a test passes one that is not confined.

    Returns:
        What was checked, in words; never empty.

    Raises:
        TierUnavailable: the jail does not start, or something got out; the message names it.
    """
    secret = secrets.token_hex(16)
    programs: tuple[Program, ...] = ("runner", "fork_server")
    seen: list[str] = []
    with tempfile.TemporaryDirectory(prefix="fettle-bait-") as folder:
        os.chmod(folder, 0o755)  # only the jail stands between the code and the bait
        bait = Path(folder, "bait.txt")
        bait.write_text(secret)
        bait.chmod(0o666)
        for program in programs:
            worker = start(tier, program, limits)
            try:
                seen += [*_seen_from_inside(worker, program, limits, bait, secret), *_seen_from_outside(worker)]
            except WorkerDied as died:
                raise TierUnavailable(f"the self-test did not finish: {died.message}") from None
            finally:
                worker.kill()
    return list(dict.fromkeys(seen))


def _seen_from_inside(worker: Worker, program: Program, limits: Limits, bait: Path, secret: str) -> list[str]:
    victim = _start_victim(worker.pid, secret)
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as tcp,
            socket.socket(socket.AF_UNIX) as named,
            socket.socket(socket.AF_UNIX) as abstract,
        ):
            address = f"{bait.parent}/socket"
            named.bind(address)
            named.listen()
            os.chmod(address, 0o666)
            abstract.bind(f"\0{secret}")
            abstract.listen()
            item = {
                "file": str(bait),
                "secret": secret,
                "host": os.getpid(),
                "victim": victim.pid,
                "tcp": tcp.getsockname()[1],
                "unix": address,
                "abstract": secret,
                "memory_bytes": limits.memory_bytes,
            }
            _break_out(worker, program, item)
        if victim.poll() is not None or bait.read_text() != secret or len(os.listdir(bait.parent)) != 2:
            raise TierUnavailable("the self-test got out: it killed its victim or changed a file")
    finally:
        victim.kill()
        victim.wait()
        Path(bait.parent, "socket").unlink(missing_ok=True)
    return [
        "no files of the host, its environment or /proc",
        "no sockets of any family",
        "no processes, signals, tracing, namespaces or mounts",
        "no writing anywhere",
        "memory is bounded",
    ]


def _break_out(worker: Worker, program: Program, item: dict[str, Any]) -> None:
    """Let the probe try, as a grader or as a program of the model's. Raises TierUnavailable: it got through."""
    if program == "runner":
        requests = [(LOAD, _PROBE.read_bytes(), 0.0), (CALL, json.dumps([{"output_text": ""}, item]).encode(), 0.5)]
        for kind, body, score in requests:
            reply = worker.call(kind, body, timeout_s=_TIME_S)
            if (reply.outcome, reply.score) != (OK, score):
                raise TierUnavailable(f"the self-test did not pass: {reply.text or reply.score}")
        return
    test = {"call": "grade", "args": values.dump([{}, item]), "kwargs": values.dump({})}
    job = {"source": _PROBE.read_text("utf-8"), "cpu_s": _TIME_S, "tests": [test]}
    reply = worker.call(RUN, json.dumps(job).encode(), timeout_s=_TIME_S)
    if (reply.outcome, reply.text) != (VALUE, "0.5"):
        raise TierUnavailable(f"the self-test of programs did not pass: {reply.text or reply.outcome}")


def _start_victim(runner: int, secret: str) -> subprocess.Popen[bytes]:
    """A process of the jail's own user, which nothing but the jail protects, with a secret in its environment."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{runner}/status").read_text().splitlines())
    uid = int(status["Uid"].split()[0])
    user = {"user": uid, "group": uid, "extra_groups": []} if os.geteuid() == 0 else {}
    program = ["/bin/sleep", "60"]
    return subprocess.Popen(program, env={"SECRET": secret}, stdin=subprocess.DEVNULL, cwd="/", **user)  # type: ignore[call-overload,no-any-return]


def _seen_from_outside(worker: Worker) -> list[str]:
    """What the kernel says about the worker, which the worker cannot fake."""
    lines = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
    status = {name: value.split() for name, value in (line.split(":", 1) for line in lines)}
    expected = {"Seccomp": "2", "NoNewPrivs": "1", "CapEff": "0" * 16, "CapPrm": "0" * 16}
    for name, value in expected.items():
        if status[name][0] != value:
            raise TierUnavailable(f"the worker's {name} is {status[name][0]}, expected {value}")
    if "0" in status["Uid"] + status["Gid"] or (os.geteuid() == 0 and status["Groups"]):
        raise TierUnavailable("the worker still has root's user or groups")
    seen = ["seccomp on, no capabilities, no new privileges, not root"]
    if worker.tier == "namespaces":
        for name in _NAMESPACES:
            try:
                inside = os.readlink(f"/proc/{worker.pid}/ns/{name}")
            except PermissionError:  # only root may look; from inside the same was tried
                continue
            if inside == os.readlink(f"/proc/self/ns/{name}"):
                raise TierUnavailable(f"the worker shares the {name} namespace of the host")
        seen.append(f"own namespaces: {', '.join(_NAMESPACES)}")
    return seen
