"""Fettle's client: the official `openai` client bound to a Fettle server, with fine-tuning made short.

    from fettle import Fettle, graders
    client = Fettle()                     # FETTLE_BASE_URL, FETTLE_API_KEY
    job = client.finetune(model=..., data="train.jsonl", grader=graders.string_check(...), wait=True)
    print(job.why())

Names are imported on first use: the command line must start before `openai` (a quarter of a second) is loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fettle import graders as graders
    from fettle.async_jobs import AsyncFineTuneJob as AsyncFineTuneJob
    from fettle.client import AsyncFettle as AsyncFettle
    from fettle.client import Fettle as Fettle
    from fettle.errors import DownloadRefused as DownloadRefused
    from fettle.errors import FettleError as FettleError
    from fettle.errors import InvalidData as InvalidData
    from fettle.errors import InvalidRequest as InvalidRequest
    from fettle.errors import JobFailed as JobFailed
    from fettle.errors import JobTimeout as JobTimeout
    from fettle.errors import MissingApiKey as MissingApiKey
    from fettle.grader_function import LocalGrader as LocalGrader
    from fettle.grader_function import grader as grader
    from fettle.jobs import FineTuneJob as FineTuneJob
    from fettle.lab_results import Bounded as Bounded
    from fettle.lab_results import Calibration as Calibration
    from fettle.lab_results import Finding as Finding
    from fettle.lab_results import GraderTest as GraderTest
    from fettle.lab_results import GraderVersion as GraderVersion
    from fettle.lab_results import Preflight as Preflight
    from fettle.lab_results import PreflightReport as PreflightReport
    from fettle.lab_results import RedTeam as RedTeam
    from fettle.lab_results import Regrade as Regrade
    from fettle.lab_results import StoredGrader as StoredGrader
    from fettle.results import Candidate as Candidate
    from fettle.results import Example as Example
    from fettle.results import FileReport as FileReport
    from fettle.results import GraderResult as GraderResult
    from fettle.results import Occurrence as Occurrence
    from fettle.results import Plan as Plan
    from fettle.results import Problem as Problem
    from fettle.results import Rollout as Rollout
    from fettle.results import Selection as Selection
    from fettle.results import StepEvaluation as StepEvaluation

_HOMES = {
    "AsyncFettle": "fettle.client",
    "AsyncFineTuneJob": "fettle.async_jobs",
    "Bounded": "fettle.lab_results",
    "Calibration": "fettle.lab_results",
    "Candidate": "fettle.results",
    "DownloadRefused": "fettle.errors",
    "Example": "fettle.results",
    "Fettle": "fettle.client",
    "FettleError": "fettle.errors",
    "FileReport": "fettle.results",
    "Finding": "fettle.lab_results",
    "FineTuneJob": "fettle.jobs",
    "GraderResult": "fettle.results",
    "GraderTest": "fettle.lab_results",
    "GraderVersion": "fettle.lab_results",
    "InvalidData": "fettle.errors",
    "InvalidRequest": "fettle.errors",
    "JobFailed": "fettle.errors",
    "JobTimeout": "fettle.errors",
    "LocalGrader": "fettle.grader_function",
    "MissingApiKey": "fettle.errors",
    "Occurrence": "fettle.results",
    "Plan": "fettle.results",
    "Preflight": "fettle.lab_results",
    "PreflightReport": "fettle.lab_results",
    "Problem": "fettle.results",
    "RedTeam": "fettle.lab_results",
    "Regrade": "fettle.lab_results",
    "Rollout": "fettle.results",
    "Selection": "fettle.results",
    "StepEvaluation": "fettle.results",
    "StoredGrader": "fettle.lab_results",
    "grader": "fettle.grader_function",
}

__all__ = [*_HOMES, "__version__", "graders"]


def __getattr__(name: str) -> object:
    if name == "graders":
        return importlib.import_module("fettle.graders")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fettle' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
