"""The trainer process: one job from standard input, events as JSON lines on standard output.

    python -m fettle_workers.main --supervised          line 1 is a RunnerInput, later lines are Commands, EOF ends it
    python -m fettle_workers.main --dir work < job.json a RunnerInput or TrainSpec, run to the end; run again to resume

It knows no store and has one credential, which lets it ask judge models and nothing else. It calls out for graders
alone. It exits with 0 after a finished, stopped or failed event; any other status is a crash.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from pydantic import ValidationError

from fettle_graders.errors import SandboxFault
from fettle_workers.adapters.checkpoints import LocalCheckpoints, is_whole
from fettle_workers.adapters.events import JsonLines
from fettle_workers.contract.catalogue import BaseModelEntry, embedding_model, load_catalogue, load_reward_models
from fettle_workers.contract.events import Failed, Finished, Message, Preflighted, Stopped
from fettle_workers.contract.internal import Command, RunnerInput
from fettle_workers.contract.spec import DataRef, ReinforcementMethod, TrainSpec

if TYPE_CHECKING:  # torch takes seconds
    from fettle_workers.engine.model import Policy
    from fettle_workers.engine.ports import Sampler
    from fettle_workers.engine.processes import Processes

Wish = Literal["pause", "cancel", "preempt", "finish"]
End = Finished | Preflighted | Stopped

_PARENT_IS_GONE = 3
_REMOTE_GRADER_S = 120.0  # of one call; four are made before the completion is dropped


class Wishes:
    """What the trainer was last told to do. SIGTERM means preempt. Implements the engine's `Control`."""

    def __init__(self) -> None:
        self._wish: Wish | None = None

    def poll(self) -> Wish | None:
        return self._wish

    def set(self, wish: Wish) -> None:
        if self._wish != "cancel":
            self._wish = wish

    def follow(self, lines: IO[str]) -> None:
        """Read commands until the end of the stream, which means that the parent is gone: then leave at once."""
        for line in lines:
            self.set(Command.model_validate_json(line).command)
        os._exit(_PARENT_IS_GONE)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    events = JsonLines(_claim_standard_output())
    wishes = Wishes()
    signal.signal(signal.SIGTERM, lambda *_: wishes.set("preempt"))
    try:
        job = _read_job(options)
        if options.supervised:
            threading.Thread(target=wishes.follow, args=(sys.stdin,), name="commands", daemon=True).start()
        else:
            _bring_inputs(job)
            job = _from_newest(job)
        events.emit(_run(job, options, events, wishes))
    except _Refused as refused:
        events.emit(refused.failed)
    return 0


class _Refused(Exception):
    """A foreseeable end of the job, as the event that tells it."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message)
        self.failed = failed


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fettle_workers.main", description=__doc__.split("\n")[0])
    parser.add_argument("--supervised", action="store_true", help="a parent sends commands; EOF ends this process")
    parser.add_argument("--dir", type=Path, default=Path("fettle-run"), help="work folder for a plain TrainSpec")
    parser.add_argument("--models-file", type=Path, help="catalogue of base models (models.toml)")
    parser.add_argument("--vllm-python", type=Path, help="`python` of an environment with vLLM, which then samples")
    parser.add_argument("--vllm-memory-share", type=float, default=0.4, help="of the GPU's memory, for vLLM")
    parser.add_argument("--vllm-cache", type=Path, help="folder for what vLLM compiles; default: in the work folder")
    parser.add_argument("--processes", type=int, help="that train together; default: one a GPU, or a single one")
    parser.add_argument("--rank", type=int, default=0, help=argparse.SUPPRESS)  # the other processes get these two
    parser.add_argument("--meeting", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help="torch threads (1: two collapse beside a busy process)")
    given = list(sys.argv[1:] if arguments is None else arguments)
    return parser.parse_args(given, argparse.Namespace(given=given))


def _claim_standard_output() -> IO[str]:
    """Keep standard output for events; whatever else prints, prints to standard error."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


def _read_job(options: argparse.Namespace) -> RunnerInput:
    text = sys.stdin.readline() if options.supervised else sys.stdin.read()
    try:
        data = json.loads(text)
        if isinstance(data, dict) and "spec" in data:
            return RunnerInput.model_validate(data)
        return RunnerInput(spec=TrainSpec.model_validate(data), work_dir=str(options.dir))
    except (ValueError, ValidationError) as error:
        raise _Refused(
            Failed(code="internal_error", message=f"the job on standard input is not valid: {error}")
        ) from None


def _bring_inputs(job: RunnerInput) -> None:
    """Without a supervisor nobody downloads: a data file's `key` may be the path of a local file."""
    for data, param in ((job.spec.training_file, "training_file"), (job.spec.validation_file, "validation_file")):
        if data is not None:
            _bring(data, Path(job.work_dir) / "inputs" / data.sha256, param)


def _bring(data: DataRef, target: Path, param: str) -> None:
    source = Path(data.key)
    if target.exists() or not source.is_file():
        return
    with source.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != data.sha256:
        message = f"{source} has the SHA-256 {found}, the job says {data.sha256}"
        raise _Refused(Failed(code=f"invalid_{param}", message=message, param=param))
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _from_newest(job: RunnerInput) -> RunnerInput:
    """Without a supervisor nobody says where to go on: at the newest checkpoint in the work folder."""
    newest = None if job.resume_from else LocalCheckpoints(Path(job.work_dir)).newest()
    return job.model_copy(update={"resume_from": str(newest.relative_to(job.work_dir))}) if newest else job


def _run(job: RunnerInput, options: argparse.Namespace, events: JsonLines, wishes: Wishes) -> End:
    # Imported here: torch takes seconds, and a job that is not valid should not wait for it.
    import torch

    from fettle_graders.errors import GraderError
    from fettle_workers.engine.errors import CheckpointError, JobFailed
    from fettle_workers.engine.lora import AdapterError
    from fettle_workers.engine.model import ModelError
    from fettle_workers.launch import LaunchError, Place, num_processes, together

    def tell_lost(what: str) -> None:
        events.emit(Message(level="error", code="process_lost", message=what))
        print(what, file=sys.stderr, flush=True)

    try:
        place = Place(options.rank, num_processes(options.processes), options.meeting)
        with together(place, job, options.given, tell_lost) as processes:
            return _train(job, options, events, wishes, processes)
    except JobFailed as error:
        failed = Failed(code=error.code, message=error.message, param=error.param)
    except SandboxFault as error:
        failed = Failed(code=error.code, message=error.message, param="method.reinforcement.grader")
    except GraderError as error:
        failed = Failed(code="invalid_grader", message=str(error), param="method.reinforcement.grader")
    except (ModelError, AdapterError) as error:
        failed = Failed(code="model_not_available", message=str(error), param="model")
    except (CheckpointError, LaunchError) as error:
        failed = Failed(code="internal_error", message=str(error))
    except (torch.OutOfMemoryError, MemoryError) as error:
        failed = _out_of_memory(error)
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # what torch says on a CPU; there is no class for it
            raise
        failed = _out_of_memory(error)
    raise _Refused(failed) from None


def _out_of_memory(error: BaseException) -> Failed:
    advice = "Lower max_completion_tokens, group_size or batch_size, or choose a smaller base model."
    return Failed(code="out_of_memory", message=f"The machine's memory is too small for this job. {advice} ({error})")


def _train(
    job: RunnerInput, options: argparse.Namespace, events: JsonLines, wishes: Wishes, processes: Processes
) -> End:
    """Wire the engine to its implementations and run the job."""
    import torch

    from fettle_graders.services import Services
    from fettle_workers.adapters.embedder import TorchEmbedder
    from fettle_workers.adapters.graders import InProcessGraderRunner
    from fettle_workers.adapters.judge import ControlPlaneJudge
    from fettle_workers.adapters.scorer import TorchScorer
    from fettle_workers.egress import Egress, parse_networks
    from fettle_workers.egress.grader import HttpRemoteGrader
    from fettle_workers.egress.judge import AllowedJudges
    from fettle_workers.engine.data import load_rows
    from fettle_workers.engine.errors import CheckpointError
    from fettle_workers.engine.model import load_policy, resolve_source, use_threads
    from fettle_workers.engine.plan import lora_rank
    from fettle_workers.engine.preflight import preflight
    from fettle_workers.engine.sampler import TorchSampler
    from fettle_workers.engine.start import start_reinforcement
    from fettle_workers.engine.supervised import start_supervised, train_supervised
    from fettle_workers.engine.train import train
    from fettle_workers.env import worker_settings

    use_threads(options.threads)
    spec, work_dir = job.spec, Path(job.work_dir)
    # A supervisor takes what it uploaded; alone, the old states would pile up.
    checkpoints = LocalCheckpoints(work_dir, keep_states=None if options.supervised else 2)
    resume_from = work_dir / job.resume_from if job.resume_from else None
    if resume_from and not is_whole(resume_from):
        raise CheckpointError(f"{resume_from} is not a whole checkpoint: a file is missing or differs from its digest")
    raw = load_rows(spec, work_dir / "inputs")
    entry = _base_model(spec.base_model, options.models_file)
    adapter = spec.init_adapter
    source = resolve_source(entry)
    policy_device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = load_policy(
        source,
        base_model_id=spec.base_model,
        lora_rank=lora_rank(spec.method.hyperparameters.lora_rank),
        adapter=work_dir / "inputs" / "adapters" / adapter.digest if adapter else None,
        device=policy_device,
        dtype=entry.dtype,
        seed=spec.seed,
        revision=entry.revision,
    )
    common = {
        "policy": policy,
        "checkpoints": checkpoints,
        "events": events,
        "control": wishes,
        "resume_from": resume_from,
        "processes": processes,
    }
    if not isinstance(spec.method, ReinforcementMethod):
        job_, demonstrations = start_supervised(spec, raw, **common)
        return train_supervised(job_, demonstrations, TorchSampler(policy))
    reward_models, embedding_folder = load_reward_models(options.models_file), embedding_model(options.models_file)
    services = Services(
        judge=ControlPlaneJudge(job.judge, spec.job_id) if job.judge else AllowedJudges(worker_settings().judges),
        embedder=TorchEmbedder(embedding_folder, device=policy_device) if embedding_folder else None,
        scorer=TorchScorer(reward_models, device=policy_device) if reward_models else None,
        http=HttpRemoteGrader(Egress(allowed=parse_networks(job.egress_allow), timeout_s=_REMOTE_GRADER_S)),
    )
    with (
        InProcessGraderRunner(spec.method.grader, services, sandbox_min_tier=job.sandbox_min_tier) as graders,
        _sampler(policy, source, entry, work_dir=work_dir, options=options, events=events) as sampler,
    ):
        step0 = work_dir / "inputs" / spec.step0.sha256 if spec.step0 else None
        started = start_reinforcement(spec, raw, sampler=sampler, graders=graders, step0=step0, **common)
        if spec.preflight is not None:
            return preflight(*started, spec.preflight)
        try:
            return train(*started)
        except SandboxFault as fault:  # nobody's grade: the job waits for its operator at the last saved step
            events.emit(Message(level="error", code=fault.code, message=_paused(fault)))
            return Stopped(reason="paused", step=started[0].progress.step)


def _paused(fault: SandboxFault) -> str:
    return (
        f"The job pauses, as its grader cannot be run: {fault.message}. No completion was graded wrongly; what "
        "was done since the last checkpoint will be done again. Mend the sandbox on the worker, then resume the job."
    )


@contextmanager
def _sampler(
    policy: Policy,
    source: str | Path,
    entry: BaseModelEntry,
    *,
    work_dir: Path,
    options: argparse.Namespace,
    events: JsonLines,
) -> Iterator[Sampler]:
    """Fettle's own sampler, or vLLM where this host has it."""
    from fettle_workers.adapters.vllm_sampler import VllmSampler, VllmSettings
    from fettle_workers.engine.sampler import TorchSampler

    own = TorchSampler(policy)
    if options.vllm_python is None:
        yield own
        return
    settings = VllmSettings.of(
        options.vllm_python,
        model=str(source),
        revision=entry.revision,
        cache=options.vllm_cache or work_dir / "cache",
        log=work_dir / f"vllm{options.rank or ''}.log",
        memory_share=options.vllm_memory_share,
        threads=options.threads,
    )
    with closing(VllmSampler(policy, settings, fallback=own, events=events)) as sampler:
        yield sampler


def _base_model(name: str, models_file: Path | None) -> BaseModelEntry:
    try:
        catalogue = load_catalogue(models_file)
    except ValueError as error:
        raise _Refused(Failed(code="model_not_available", message=str(error), param="model")) from None
    if name not in catalogue:
        message = f"base model {name!r} is not in the catalogue; it has {', '.join(sorted(catalogue))}"
        raise _Refused(Failed(code="model_not_available", message=message, param="model"))
    return catalogue[name]


if __name__ == "__main__":
    sys.exit(main())
