"""One attempt of one job, from claim to the last event. It never touches a GPU and never imports torch."""

from __future__ import annotations

import logging
import math
import os
import queue
import shutil
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from fettle_workers.contract.events import (
    CheckpointCommitted,
    Event,
    Failed,
    Finished,
    Message,
    Preflighted,
    RolloutsStored,
    StepDone,
    Stopped,
)
from fettle_workers.contract.internal import (
    ClaimRequest,
    ClaimResponse,
    Command,
    EventsRequest,
    JudgeAccess,
    ReleaseRequest,
    RunnerInput,
    SequencedEvent,
)
from fettle_workers.env import WorkerSettings
from fettle_workers.store import BlobCorrupt, BlobMissing, BlobStore, StoreUnavailable, open_store
from fettle_workers.supervisor.control_plane import ControlPlane, ControlPlaneAway, Fenced, Refused
from fettle_workers.supervisor.lease import Lease
from fettle_workers.supervisor.next_trainer import NextTrainer
from fettle_workers.supervisor.trainer import Trainer
from fettle_workers.supervisor.transfer import (
    checkpoint_folder,
    drop_uploaded,
    fetch_inputs,
    upload_checkpoint,
    upload_rollouts,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

_BATCH = 100
_RETRY_S = (0.2, 0.5, 1, 2, 5)
_EXIT_S = 10.0  # from the last event, or from a cancel, until the trainer is killed
_TERMINAL = (Finished, Preflighted, Failed, Stopped)


class _TrainerExited:
    """Put on the queue behind the trainer's last event."""


class _Unstored(Exception):
    """The store is away and the job is not to wait for it: its user cancels it, or this worker ends."""


class _Changed:
    """Put on the queue when the lease or what is desired of the job changed."""


@dataclass
class Attempt:
    """What the parts of one attempt share."""

    claimed: ClaimResponse
    control: ControlPlane
    lease: Lease
    store: BlobStore
    work: Path
    inbox: queue.Queue[Event | _TrainerExited | _Changed]
    stop: threading.Event
    settings: WorkerSettings
    sequence: int = 0
    step: int = 0
    reason: str = ""  # why its trainer was killed, where that is a fault


def supervise(
    job_id: str,
    attempt: int,
    *,
    settings: WorkerSettings,
    stop: threading.Event,
    trainers: NextTrainer,
) -> None:
    """Claim the attempt and see it through. Returns when the job is in someone else's hands or has ended.

    A doubled or late wake-up is refused by the claim and returns at once. `stop` asks for a hand-back at the next
    step boundary.
    """
    control = ControlPlane(settings.control_plane_url, job_id, settings.shared_token)
    try:
        claimed = _claim(control, attempt)
        if claimed is not None:
            _run(claimed, control, settings, stop, trainers)
    finally:
        control.close()


def _claim(control: ControlPlane, attempt: int) -> ClaimResponse | None:
    worker = f"{socket.gethostname()}:{os.getpid()}"
    for delay_s in _RETRY_S:
        try:
            return control.claim(ClaimRequest(attempt=attempt, worker=worker))
        except Fenced:
            return None
        except ControlPlaneAway as error:
            log.warning("claim: %s; trying again", error)
            time.sleep(delay_s)
    log.error("claim: the control plane does not answer; the job stays queued and will be offered again")
    return None


def _run(
    claimed: ClaimResponse,
    control: ControlPlane,
    settings: WorkerSettings,
    stop: threading.Event,
    trainers: NextTrainer,
) -> None:
    inbox: queue.Queue[Event | _TrainerExited | _Changed] = queue.Queue()
    lease = Lease(
        control,
        claimed.attempt,
        claimed.lease_s,
        heartbeat_s=settings.heartbeat_s,
        on_change=lambda: inbox.put(_Changed()),
    )
    work = settings.scratch / claimed.spec.job_id / f"a{claimed.attempt}"
    run = Attempt(claimed, control, lease, open_store(settings.store_address), work, inbox, stop, settings)
    try:
        _train_or_hand_back(run, trainers)
    except Fenced:
        log.warning("%s attempt %d is over: another attempt owns the job", claimed.spec.job_id, claimed.attempt)
    except Refused as error:
        log.error("%s: %s", claimed.spec.job_id, error)
        _release(run, "lost", f"the control plane refused what the worker sent: {error}")
    except OSError as error:
        _release(run, "lost", f"the worker could not use its scratch folder {work}: {error}")
    finally:
        lease.close()
        shutil.rmtree(work, ignore_errors=True)


def _train_or_hand_back(run: Attempt, trainers: NextTrainer) -> None:
    try:
        _train(run, trainers)
    except _Unstored as error:
        _hand_back(run, str(error))


def _train(run: Attempt, trainers: NextTrainer) -> None:
    shutil.rmtree(run.work.parent, ignore_errors=True)  # what an earlier attempt left on this host
    run.work.mkdir(parents=True)
    try:
        resume_from = _patiently(run, "reading its files", lambda: fetch_inputs(run.store, run.claimed, run.work))
    except (BlobMissing, BlobCorrupt) as error:
        _post(run, [Failed(code="internal_error", message=f"a file of this job is gone from the store: {error}")])
        return
    job = RunnerInput(
        spec=run.claimed.spec,
        work_dir=str(run.work),
        resume_from=resume_from,
        judge=JudgeAccess(
            control_plane_url=run.settings.control_plane_url,
            attempt=run.claimed.attempt,
            token=run.claimed.judge_token,
        ),
        egress_allow=tuple(run.settings.egress_allow),
        sandbox_min_tier=run.settings.sandbox_min_tier,
    )
    trainer = trainers.take()
    try:
        trainer.begin(job, on_event=run.inbox.put, on_exit=lambda: run.inbox.put(_TrainerExited()))
        if not _relay(run, trainer):
            _account_for(run, trainer)
    finally:
        trainer.kill()
        trainer.wait()


def _relay(run: Attempt, trainer: Trainer) -> bool:
    """Hand events on in order until the trainer has exited; True when the last of them ended the attempt."""
    ended = False
    sent: Command | None = None
    kill_at = math.inf
    heard_at = time.monotonic()
    while True:
        batch = _next_batch(run.inbox, max(0.0, min(0.5, kill_at - time.monotonic())))
        events = [entry for entry in batch if not isinstance(entry, _TrainerExited | _Changed)]
        for index, event in enumerate(events):
            if isinstance(event, CheckpointCommitted):
                events[index] = _upload(run, event)
            elif isinstance(event, RolloutsStored):
                events[index] = _upload_rollouts(run, event)
            elif isinstance(event, StepDone):
                run.step = event.metrics.step
        _post(run, events)
        if events:
            heard_at = time.monotonic()
        elif time.monotonic() - heard_at > run.settings.silence_limit_s:
            run.reason = f"the trainer was ended: it said nothing for {run.settings.silence_limit_s:g} s. "
            trainer.kill()
        if not ended and any(isinstance(event, _TERMINAL) for event in events):
            ended, kill_at = True, time.monotonic() + _EXIT_S
        if any(isinstance(entry, _TrainerExited) for entry in batch):
            return ended
        if run.lease.lost.is_set() and not ended:
            raise Fenced("lease")
        wished = _wished(run)
        if wished is not None and wished != sent and not ended:
            trainer.send(wished)
            sent, kill_at = wished, time.monotonic() + _grace_s(wished, run.settings.preempt_grace_s)
        if time.monotonic() >= kill_at:
            trainer.kill()


def _wished(run: Attempt) -> Command | None:
    desired = run.lease.desired
    # The last measurements of a job that is to finish take a while; on the next worker they are made all the same.
    if run.stop.is_set() and desired in ("run", "finish"):
        return Command(command="preempt")
    return None if desired == "run" else Command(command=desired)


def _grace_s(command: Command, preempt_grace_s: float) -> float:
    """How long the trainer has to honour a command. A pause may wait for the longest step: nothing is in a hurry."""
    return {"cancel": _EXIT_S, "preempt": preempt_grace_s, "pause": math.inf, "finish": math.inf}[command.command]


def _account_for(run: Attempt, trainer: Trainer) -> None:
    """Say why a trainer that is gone left no last event."""
    status = trainer.wait()
    if run.lease.desired == "cancel" or run.stop.is_set():
        _hand_back(run, "the trainer did not reach a step boundary in time")
    else:
        reason = run.reason or f"the trainer ended with status {status} before its job did. "
        _release(run, "lost", reason + trainer.last_words())


def _hand_back(run: Attempt, reason: str) -> None:
    """End an attempt that was to end, and did so in another way than by its trainer's last event."""
    if run.lease.desired == "cancel":
        _post(run, [Stopped(reason="cancelled", step=run.step)])
    else:
        _release(run, "requeue", f"the worker is shutting down; {reason}")


def _next_batch(
    inbox: queue.Queue[Event | _TrainerExited | _Changed], timeout_s: float
) -> list[Event | _TrainerExited | _Changed]:
    batch: list[Event | _TrainerExited | _Changed] = []
    try:
        batch.append(inbox.get(timeout=timeout_s))
        while len(batch) < _BATCH:
            batch.append(inbox.get_nowait())
    except queue.Empty:
        pass
    return batch


def _upload(run: Attempt, event: CheckpointCommitted) -> CheckpointCommitted:
    prefix = _prefix(run, checkpoint_folder(event.step))

    def upload() -> CheckpointCommitted:
        base_model = run.claimed.spec.base_model
        return upload_checkpoint(run.store, event, run.work, prefix=prefix, base_model=base_model)

    uploaded = _patiently(run, f"storing the checkpoint of step {event.step}", upload)
    drop_uploaded(event, run.work)
    return uploaded


def _upload_rollouts(run: Attempt, event: RolloutsStored) -> RolloutsStored:
    prefix = _prefix(run, event.directory)
    return _patiently(
        run,
        "storing the rollouts of the final measurements",
        lambda: upload_rollouts(run.store, event, run.work, prefix=prefix),
    )


def _prefix(run: Attempt, folder: str) -> str:
    """Where a folder of this attempt lies in the store; no two attempts write to one place."""
    return f"jobs/{run.claimed.spec.job_id}/a{run.claimed.attempt}/{folder.rsplit('/', 1)[-1]}"


def _patiently(run: Attempt, what: str, action: Callable[[], T]) -> T:
    """Repeat `action` while the store is away, for as long as the lease is held; the job's events say so, once each.

    Raises:
        _Unstored: the job was cancelled meanwhile, or this worker is asked to end and the store stays away.
    """
    tries = 0
    give_up_at = math.inf
    while True:
        try:
            result = action()
        except StoreUnavailable as error:
            if tries == 0:
                words = f"The artifact store is away while {what}: {error}. Trying again."
                _post(run, [Message(level="warn", message=words)])
            if run.lease.lost.wait(_RETRY_S[min(tries, len(_RETRY_S) - 1)]):
                raise Fenced("lease") from error
            tries += 1
            if run.stop.is_set():
                give_up_at = min(give_up_at, time.monotonic() + run.settings.preempt_grace_s)
            if run.lease.desired == "cancel" or time.monotonic() >= give_up_at:
                raise _Unstored(f"the artifact store stayed away while {what}") from error
        else:
            if tries:
                _post(run, [Message(message=f"The artifact store is back; {what} went on after {tries} tries.")])
            return result


def _post(run: Attempt, events: list[Event]) -> None:
    """Deliver events, repeating while the control plane is away. Raises Fenced when the attempt is over."""
    if not events:
        return None
    first = run.sequence + 1
    run.sequence += len(events)
    request = EventsRequest(
        attempt=run.claimed.attempt,
        events=tuple(SequencedEvent(sequence=first + index, event=event) for index, event in enumerate(events)),
    )
    tries = 0
    while True:
        asked_at = time.monotonic()
        try:
            return run.lease.note(run.control.events(request), asked_at)
        except ControlPlaneAway as error:
            log.warning("%s: %s; trying again", run.claimed.spec.job_id, error)
            if run.lease.lost.wait(_RETRY_S[min(tries, len(_RETRY_S) - 1)]):
                raise Fenced("lease") from error
            tries += 1


def _release(run: Attempt, outcome: Literal["requeue", "lost"], message: str) -> None:
    for delay_s in _RETRY_S:
        try:
            return run.control.release(ReleaseRequest(attempt=run.claimed.attempt, outcome=outcome, message=message))
        except (Fenced, Refused):
            return None
        except ControlPlaneAway:
            time.sleep(delay_s)
    return None  # the lease runs out and the tick takes the job back
