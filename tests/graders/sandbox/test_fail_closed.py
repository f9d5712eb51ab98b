"""Without a jail that passed its self-test nothing runs, whatever it is that is missing."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from fettle_graders.errors import SandboxFault
from fettle_graders.sandbox import tiers, worker
from fettle_graders.sandbox.failure import CodeFailure
from fettle_graders.sandbox.jail import lockdown
from fettle_graders.sandbox.pool import Sandbox
from fettle_graders.sandbox.seccomp import MACHINES, seccomp_program
from fettle_graders.sandbox.tiers import TIERS, Limits, Tier, TierUnavailable, tiers_from
from fettle_graders.sandbox.worker import Worker

pytestmark = pytest.mark.timeout(60)

SMALL = Limits(call_s=2.0, load_s=5.0, memory_bytes=256 * 1024**2)
BODY = b'[{"output_text": ""}, {}]'
ALLOW_ALL = bytes.fromhex("060000000000ff7f")  # return SECCOMP_RET_ALLOW
Change = Callable[[dict[str, Any]], None]


def weakened(monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    """Start every worker with a changed configuration."""

    def changed(*arguments: Any) -> dict[str, Any]:
        config = tiers.jail_config(*arguments)
        change(config)
        return config

    monkeypatch.setattr(worker, "jail_config", changed)


def no_filter(config: dict[str, Any]) -> None:
    config["seccomp"] = ALLOW_ALL.hex()


def no_filter_for_programs(config: dict[str, Any]) -> None:
    config["runner_seccomp"] = config["seccomp"]


def no_landlock(config: dict[str, Any]) -> None:
    config["landlock"] = False


def everything_readable(config: dict[str, Any]) -> None:
    config["read"] = [*config["read"], "/etc"]


def much_memory(config: dict[str, Any]) -> None:
    config["limits"]["AS"] = 4 * 1024**3


def as_root(config: dict[str, Any]) -> None:
    config["uid"] = 0


def no_program(config: dict[str, Any]) -> None:
    config["seccomp"] = "zz"  # not a program at all


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(
    ("change", "found"),
    [
        (no_filter, "socket of family"),
        (no_filter_for_programs, "self-test of programs did not pass.*fork"),
        (much_memory, "memory over the limit"),
        (as_root, "uid 0"),
        (no_program, "non-hexadecimal"),
    ],
)
def test_a_weaker_jail_is_not_used(monkeypatch: pytest.MonkeyPatch, tier: Tier, change: Change, found: str) -> None:
    if change is as_root and os.geteuid() != 0:
        pytest.skip("only root could keep its uid")
    weakened(monkeypatch, change)
    with Sandbox(tiers=(tier,), limits=SMALL) as sandbox:
        with pytest.raises(SandboxFault, match=found) as refused:
            sandbox.grade("org", "def grade(sample, item): return 1", BODY)
        assert refused.value.code == "sandbox_unavailable"
        status = sandbox.status()
    assert status["tier"] is None
    assert status["available"] is False
    assert re.search(found, status["reasons"][tier])


@pytest.mark.parametrize("change", [no_landlock, everything_readable])
def test_without_namespaces_the_files_hang_on_landlock(monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    weakened(monkeypatch, change)
    with Sandbox(tiers=("lockdown",), limits=SMALL) as sandbox, pytest.raises(SandboxFault, match="read /etc/passwd"):
        sandbox.require()


def test_a_missing_bubblewrap_leaves_lockdown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers.shutil, "which", lambda *_, **__: None)
    with Sandbox(limits=SMALL) as sandbox:
        assert sandbox.require() == "lockdown"
        assert "not installed" in sandbox.status()["reasons"]["namespaces"]
        assert sandbox.grade("org", "def grade(sample, item): return 1", BODY).score == 1.0
    with Sandbox(tiers=("namespaces",), limits=SMALL) as sandbox, pytest.raises(SandboxFault, match="not installed"):
        sandbox.require()


def test_an_operator_may_refuse_the_weaker_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers.shutil, "which", lambda *_, **__: None)
    assert tiers_from("lockdown") == TIERS
    with Sandbox(tiers=tiers_from("namespaces"), limits=SMALL) as sandbox, pytest.raises(SandboxFault):
        sandbox.require()


def test_a_setuid_bubblewrap_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    setuid = tmp_path / "bwrap"
    setuid.write_bytes(b"#!/bin/sh\n")
    setuid.chmod(0o4755)
    monkeypatch.setattr(tiers.shutil, "which", lambda *_, **__: str(setuid))
    with Sandbox(tiers=("namespaces",), limits=SMALL) as sandbox, pytest.raises(SandboxFault, match="setuid"):
        sandbox.require()


def test_without_landlock_and_namespaces_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers.shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(tiers, "landlock_version", lambda: 0)
    with Sandbox(limits=SMALL) as sandbox, pytest.raises(SandboxFault, match=r"not installed.*no Landlock"):
        sandbox.check_source("org", "def grade(sample, item): return 1")


def test_workers_that_no_longer_start_are_nobodys_grade() -> None:
    num_starts = [0]

    def start(*arguments: Any) -> Worker:
        num_starts[0] += 1
        if num_starts[0] > 2:  # the self-test's
            raise TierUnavailable("no more processes")
        return Worker(*arguments)

    with Sandbox(limits=SMALL, start=start) as sandbox:
        with pytest.raises(SandboxFault, match=r"after 4 tries: no more processes") as failed:
            sandbox.grade("org", "def grade(sample, item): return 1", BODY)
        assert failed.value.code == "sandbox_failure"
    assert num_starts[0] >= 6


def test_a_tier_that_was_in_use_and_fails_later_is_not_replaced_by_a_weaker_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Sandbox(limits=SMALL) as sandbox:
        tier = sandbox.require()
        sandbox.check_source("org", "def grade(sample, item): return 1")  # a warm worker, from before
        weakened(monkeypatch, no_filter)
        assert sandbox.grade("org", "def grade(sample, item): return 1", BODY).score == 1.0
        sandbox._choice.checked_at -= 601
        with pytest.raises(SandboxFault, match="socket of family"):
            sandbox.grade("org", "def grade(sample, item): return 1", BODY)
        assert set(sandbox.status()["reasons"]) == {tier}
        assert not sandbox._idle


def test_root_is_not_locked_down_in_place() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with pytest.raises(PermissionError, match="uid 0"):
        lockdown.lock_down({})


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_of_each_machine_is_one_program_for_each_profile(machine: str) -> None:
    runner, server = (seccomp_program(profile, machine=machine) for profile in ("runner", "fork_server"))
    assert len(runner) % 8 == 0
    assert len(runner) < len(server)
    assert len(server) // 8 < 4096  # the kernel's limit
    with pytest.raises(ValueError, match="x86_64 and aarch64"):
        seccomp_program("runner", machine="riscv64")


HOST = """
import json, sys, threading
from fettle_graders.sandbox.pool import Sandbox
from fettle_graders.sandbox.tiers import Limits
sandbox = Sandbox(tiers=(sys.argv[1],), limits=Limits(memory_bytes=2**28))
if sys.argv[2] == "busy":
    source = "def grade(sample, item):\\n    sum(__import__('itertools').repeat(0))"
    threading.Thread(target=sandbox.grade, args=("org", source, b'[{"output_text": ""}, {}]'), daemon=True).start()
    while not any(worker.num_calls == 2 for worker in list(sandbox._busy)): pass
else:
    sandbox.check_source("org", "def grade(sample, item): return 1")
print("ready", flush=True)
sys.stdin.read()
"""


def orphans(since: float) -> list[psutil.Process]:
    """Processes of the sandbox that nobody waits for. They share nothing with their host but what started them."""
    found = []
    for process in psutil.process_iter(["ppid", "name", "uids", "create_time"]):
        info = process.info
        if info["ppid"] == 1 and info["create_time"] >= since - 0.1 and process.status() != psutil.STATUS_ZOMBIE:
            is_jailed = info["name"] == "bwrap" or (info["uids"] and info["uids"].real in range(60706, 61184))
            found += [process] if is_jailed else []
    return found


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("state", ["busy", "idle"])
def test_a_killed_host_leaves_no_process(tier: Tier, state: str) -> None:
    """Also not the spare, which is starting just then."""
    since = time.time()
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, tier, state], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert host.stdout is not None
        assert host.stdout.readline() == "ready\n"
        children = psutil.Process(host.pid).children(recursive=True)
        assert children
    finally:
        os.kill(host.pid, signal.SIGKILL)
        host.communicate()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]
    deadline = time.monotonic() + 10
    while orphans(since) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not orphans(since)


def test_a_thread_that_ends_takes_no_worker_along() -> None:
    with Sandbox(limits=SMALL) as sandbox:
        source = "def grade(sample, item): return 1"
        thread = threading.Thread(target=sandbox.check_source, args=("org", source))
        thread.start()
        thread.join()
        (kept,) = sandbox._idle
        time.sleep(0.1)
        assert kept.worker.is_alive()
        assert sandbox.grade("org", source, BODY).score == 1.0
        assert sandbox._idle[0].worker is kept.worker


def test_a_full_pipe_never_holds_up_the_host() -> None:
    """A request larger than a pipe goes through whole, and its answer comes."""
    with Sandbox(limits=SMALL) as sandbox:
        body = json.dumps([{"output_text": "x" * 4_000_000}, {}]).encode()
        assert sandbox.grade("org", "def grade(s, i): return len(s['output_text'])", body).score == 4_000_000


def test_code_that_hangs_keeps_its_own_organization_waiting_and_no_other() -> None:
    loop = "def grade(sample, item):\n    while True: pass"

    def hang() -> None:
        with contextlib.suppress(CodeFailure):
            sandbox.grade("greedy", loop, BODY)

    with Sandbox(size=2, share=1, limits=SMALL) as sandbox:
        sandbox.check_source("other", "def grade(sample, item): return 1")
        hangs = [threading.Thread(target=hang) for _ in range(3)]
        for thread in hangs:
            thread.start()
        deadline = time.monotonic() + 20
        while not any(one.num_calls == 2 for one in list(sandbox._busy)):
            assert time.monotonic() < deadline
        assert sandbox.grade("other", "def grade(sample, item): return 1", BODY).score == 1.0
        assert any(thread.is_alive() for thread in hangs), "nobody was hanging any more: this proves nothing"
        for thread in hangs:
            thread.join()
    assert not sandbox._users
