"""One job, from its input to its last event: wires the engine to its implementations.

Importing this module loads everything that most jobs need, which takes seconds; a trainer that waits for its job has
it loaded by then.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import torch

from fettle_graders.errors import GraderError, SandboxFault
from fettle_graders.services import Services
from fettle_workers.adapters.checkpoints import LocalCheckpoints, is_whole
from fettle_workers.adapters.embedder import TorchEmbedder
from fettle_workers.adapters.events import JsonLines
from fettle_workers.adapters.graders import InProcessGraderRunner
from fettle_workers.adapters.judge import ControlPlaneJudge
from fettle_workers.adapters.scorer import TorchScorer
from fettle_workers.adapters.vllm_sampler import VllmSampler, VllmSettings
from fettle_workers.contract.catalogue import BaseModelEntry, embedding_model, load_catalogue, load_reward_models
from fettle_workers.contract.events import Failed, Finished, Message, Preflighted, Stopped
from fettle_workers.contract.internal import RunnerInput
from fettle_workers.contract.spec import ReinforcementMethod
from fettle_workers.egress import Egress, parse_networks
from fettle_workers.egress.grader import HttpRemoteGrader
from fettle_workers.egress.judge import AllowedJudges
from fettle_workers.engine.data import load_rows
from fettle_workers.engine.errors import CheckpointError, JobFailed
from fettle_workers.engine.lora import AdapterError
from fettle_workers.engine.model import ModelError, Policy, load_policy, resolve_source, use_threads
from fettle_workers.engine.plan import lora_rank
from fettle_workers.engine.ports import Control, Sampler
from fettle_workers.engine.preflight import preflight
from fettle_workers.engine.processes import Processes
from fettle_workers.engine.sampler import TorchSampler
from fettle_workers.engine.start import start_reinforcement
from fettle_workers.engine.supervised import start_supervised, train_supervised
from fettle_workers.engine.train import train
from fettle_workers.env import worker_settings
from fettle_workers.launch import LaunchError, Place, num_processes, together

End = Finished | Preflighted | Stopped | Failed

_REMOTE_GRADER_S = 120.0  # of one call; four are made before the completion is dropped


def run(job: RunnerInput, options: argparse.Namespace, events: JsonLines, control: Control) -> End:
    """Run the job to its end. A foreseeable failure is an end too; any other exception is a defect."""

    def tell_lost(what: str) -> None:
        events.emit(Message(level="error", code="process_lost", message=what))
        print(what, file=sys.stderr, flush=True)

    if not options.supervised:
        job = _from_newest(job)
    try:
        place = Place(options.rank, num_processes(options.processes), options.meeting)
        limit = options.silence_limit
        with together(place, job, options.given, tell_lost, silence_limit_s=limit) as processes:
            return _train(job, options, events, control, processes)
    except JobFailed as error:
        return Failed(code=error.code, message=error.message, param=error.param)
    except SandboxFault as error:
        return Failed(code=error.code, message=error.message, param="method.reinforcement.grader")
    except GraderError as error:
        return Failed(code="invalid_grader", message=str(error), param="method.reinforcement.grader")
    except (ModelError, AdapterError) as error:
        return Failed(code="model_not_available", message=str(error), param="model")
    except (CheckpointError, LaunchError) as error:
        return Failed(code="internal_error", message=str(error))
    except (torch.OutOfMemoryError, MemoryError) as error:
        return _out_of_memory(error)
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # what torch says on a CPU; there is no class for it
            raise
        return _out_of_memory(error)


def _out_of_memory(error: BaseException) -> Failed:
    advice = "Lower max_completion_tokens, group_size or batch_size, or choose a smaller base model."
    return Failed(code="out_of_memory", message=f"The machine's memory is too small for this job. {advice} ({error})")


def _from_newest(job: RunnerInput) -> RunnerInput:
    """Without a supervisor nobody says where to go on: at the newest checkpoint in the work folder."""
    newest = None if job.resume_from else LocalCheckpoints(Path(job.work_dir)).newest()
    return job.model_copy(update={"resume_from": str(newest.relative_to(job.work_dir))}) if newest else job


def _train(
    job: RunnerInput, options: argparse.Namespace, events: JsonLines, control: Control, processes: Processes
) -> Finished | Preflighted | Stopped:
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
        processes=processes,
        parallelism=options.parallelism,
    )
    common = {
        "policy": policy,
        "checkpoints": checkpoints,
        "events": events,
        "control": control,
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
    own = TorchSampler(policy)
    if options.vllm_python is None:
        yield own
        return
    if policy.placement.parallelism == "fsdp":
        said = "vLLM does not sample for this job: it would hold the whole base, which is spread over the processes."
        events.emit(Message(level="warn", message=said))
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
        raise JobFailed("model_not_available", str(error), param="model") from None
    if name not in catalogue:
        message = f"base model {name!r} is not in the catalogue; it has {', '.join(sorted(catalogue))}"
        raise JobFailed("model_not_available", message, param="model")
    return catalogue[name]
