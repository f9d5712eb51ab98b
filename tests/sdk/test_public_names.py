"""The names users import. Removing one is a breaking change."""

from __future__ import annotations

import inspect
import subprocess
import sys

import openai

import fettle
from fettle import AsyncFettle, AsyncFineTuneJob, Fettle, FineTuneJob, graders
from fettle.async_lab_resources import AsyncGraderResources, AsyncPreflightResources
from fettle.lab_resources import GraderResources, PreflightResources

NAMES = [
    "AsyncFettle", "AsyncFineTuneJob", "Bounded", "Calibration", "Candidate", "DownloadRefused", "Example", "Fettle",
    "FettleError", "FileReport", "Finding", "FineTuneJob", "GraderResult", "GraderTest", "GraderVersion",
    "InvalidData", "InvalidRequest", "JobFailed", "JobTimeout", "LocalGrader", "MissingApiKey", "Occurrence",
    "Plan", "Preflight", "PreflightReport", "Problem", "RedTeam", "Regrade", "Rollout", "Selection", "StepEvaluation",
    "StoredGrader", "__version__", "grader", "graders",
]  # fmt: skip
JOB_NAMES = [
    "best", "cancel", "chat", "checkpoints", "done", "download", "ending", "error", "evaluations", "events", "fettle",
    "fine_tuned_model", "finish", "id", "metrics", "model", "pause", "phase", "raise_unless_succeeded", "refresh",
    "resume", "rollouts", "status", "tuned_model", "undecided", "wait", "watch", "why",
]  # fmt: skip
GRADER_NAMES = [
    "code", "endpoint", "format", "from_file", "json_schema", "label_model", "load", "majority", "math", "multi",
    "process", "python",     "regex", "reward_model", "score_model", "string_check", "text_similarity",
]  # fmt: skip


def public(thing: object) -> list[str]:
    return sorted(name for name in dir(thing) if not name.startswith("_"))


def test_the_package_exports_exactly_these_names() -> None:
    assert sorted(fettle.__all__) == NAMES
    assert all(getattr(fettle, name) is not None for name in NAMES)


def test_both_jobs_have_exactly_these_names() -> None:
    assert public(FineTuneJob) == JOB_NAMES
    assert public(AsyncFineTuneJob) == JOB_NAMES


def test_graders_are_exactly_these() -> None:
    own = [name for name, value in vars(graders).items() if inspect.isfunction(value) and not name.startswith("_")]
    assert sorted(own) == GRADER_NAMES


def test_the_clients_are_the_official_ones_plus_five_names() -> None:
    assert issubclass(Fettle, openai.OpenAI)
    assert issubclass(AsyncFettle, openai.AsyncOpenAI)
    assert set(vars(Fettle)) - {"__module__", "__doc__", "__init__", "__annotations__"} >= {
        "fettle",
        "finetune",
        "graders",
        "preflight",
        "upload",
    }


def test_async_signatures_are_those_of_the_sync_twins() -> None:
    for name in JOB_NAMES:
        sync, twin = getattr(FineTuneJob, name), getattr(AsyncFineTuneJob, name)
        if callable(sync):
            assert list(inspect.signature(sync).parameters) == list(inspect.signature(twin).parameters), name
    for method in ("finetune", "preflight", "upload"):
        sync, twin = getattr(Fettle, method), getattr(AsyncFettle, method)
        assert inspect.signature(sync).parameters == inspect.signature(twin).parameters, method
    for ours, theirs in ((GraderResources, AsyncGraderResources), (PreflightResources, AsyncPreflightResources)):
        assert public(ours) == public(theirs)
        for name in public(ours):
            assert inspect.signature(getattr(ours, name)).parameters == (
                inspect.signature(getattr(theirs, name)).parameters
            ), name


def test_importing_the_package_and_the_command_does_not_load_openai() -> None:
    code = "import fettle, fettle.cli, fettle.cli.app, fettle.cli.jobs, sys; print('openai' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
