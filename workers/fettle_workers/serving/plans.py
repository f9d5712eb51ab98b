"""What a job's plan would be, before there is a job: its rows are rendered and the base is asked, as at its start."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from fettle_workers.contract.plan import MAX_FILE_BYTES, PROBE_S, ForeseenPlan
from fettle_workers.contract.spec import (
    DataRef,
    ReinforcementMethod,
    SupervisedHyperparameters,
    TrainSpec,
)
from fettle_workers.engine.conversations import render_demonstrations
from fettle_workers.engine.data import load_rows, render_data
from fettle_workers.engine.errors import JobFailed
from fettle_workers.engine.model import Policy
from fettle_workers.engine.plan import Facts, resolve_plan, resolve_supervised_plan
from fettle_workers.engine.plan_reasons import reinforcement_reasons, supervised_reasons
from fettle_workers.engine.sampler import TorchSampler
from fettle_workers.engine.start import base_lengths, plan_facts
from fettle_workers.serving.errors import BadRequest, ModelBroken, Overloaded
from fettle_workers.store import BlobCorrupt, BlobMissing, BlobStore, StoreUnavailable, download

_KEPT = 32
_UNANSWERED_KEPT_S = 60.0  # then the base is asked again: it may have been slow because of other work
_Known = tuple[Facts, tuple[str, ...]]


class _TooSlow(Exception):
    """The base is still answering."""


class Plans:
    """Foresees one plan at a time. What it found out about rows and base is kept, for the next change of the form."""

    def __init__(self, store: BlobStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._one_at_a_time = threading.Lock()
        self._known: OrderedDict[str, tuple[_Known, float | None]] = OrderedDict()  # each with its end, if it has one

    def foresee(self, spec: TrainSpec, policy: Policy) -> ForeseenPlan:
        """May take as long as reading the files and `PROBE_S` together.

        Raises:
            BadRequest: what the job itself would fail with at its start.
            Overloaded, ModelBroken: the store does not answer, or has lost a file.
        """
        try:
            with self._one_at_a_time:
                facts, warnings = self._facts(spec, policy)
            if isinstance(spec.method, ReinforcementMethod):
                return _reinforcement(spec.method, facts, warnings)
            return _supervised(spec.method.hyperparameters, facts, warnings)
        except JobFailed as failed:
            raise BadRequest(failed.message, code=failed.code, param=failed.param) from failed

    def _facts(self, spec: TrainSpec, policy: Policy) -> _Known:
        key = _identity(spec)
        known, end = self._known.get(key, (None, None))
        if known is None or (end is not None and self._clock() > end):
            known = self._find(spec, policy)
            answered = known[0].base_lengths or not isinstance(spec.method, ReinforcementMethod)
            self._known[key] = known, None if answered else self._clock() + _UNANSWERED_KEPT_S
        self._known.move_to_end(key)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return known

    def _find(self, spec: TrainSpec, policy: Policy) -> _Known:
        with TemporaryDirectory(prefix="fettle-plan-") as folder:
            self._bring(spec, Path(folder))
            raw = load_rows(spec, Path(folder))
        method = spec.method
        if not isinstance(method, ReinforcementMethod):
            shown = render_demonstrations(raw, policy.chat, context_size=policy.context_size)
            facts = Facts(
                num_rows=len(shown.train),
                select_items=len(shown.select),
                report_items=len(shown.report),
                in_sample=shown.in_sample,
                hidden_size=policy.hidden_size,
                completion_room=0,
                base_lengths=(),
            )
            return facts, raw.warnings
        data = render_data(
            raw,
            policy.chat,
            context_size=policy.context_size,
            response_format=method.response_format,
            reasoning_effort=method.hyperparameters.reasoning_effort,
        )
        end = self._clock() + PROBE_S

        def before_step() -> None:
            if self._clock() > end:
                raise _TooSlow

        try:
            lengths = base_lengths(spec, data, policy=policy, sampler=TorchSampler(policy, before_step=before_step))
        except _TooSlow:
            lengths = []
        return plan_facts(data, policy, lengths), raw.warnings

    def _bring(self, spec: TrainSpec, folder: Path) -> None:
        files = [file for file in (spec.training_file, spec.validation_file) if file is not None]
        size = sum(file.size_bytes for file in files)
        if size > MAX_FILE_BYTES:
            raise BadRequest(
                f"the files have {size} bytes; up to {MAX_FILE_BYTES} a plan can be foreseen, beyond that the job or a "
                "preflight says it when it starts",
                code="too_large_to_foresee",
                param="training_file",
            )
        for file in files:
            self._download(file, folder / file.sha256)

    def _download(self, file: DataRef, target: Path) -> None:
        try:
            download(self._store, file.key, target, sha256=file.sha256, size_bytes=file.size_bytes)
        except StoreUnavailable as error:
            raise Overloaded(f"the store does not answer: {error}") from error
        except (BlobMissing, BlobCorrupt) as error:
            raise ModelBroken(f"the bytes of {file.file_id} cannot be read: {error}", code="file_broken") from error


def _identity(spec: TrainSpec) -> str:
    """Everything that rows and base answers depend on; the rest of the hyperparameters is cheap to resolve again."""
    asked = spec.method.hyperparameters
    sampling = {
        name: getattr(asked, name, None) for name in ("reasoning_effort", "max_completion_tokens", "temperature")
    }
    parts = (
        spec.base_model,
        spec.init_adapter,
        spec.method.type,
        getattr(spec.method, "response_format", None),
        spec.seed,
        spec.training_file.sha256,
        spec.validation_file and spec.validation_file.sha256,
        spec.validation_split,
        spec.step0 and spec.step0.sha256,
    )
    return repr((*parts, sampling))


def _reinforcement(method: ReinforcementMethod, facts: Facts, warnings: tuple[str, ...]) -> ForeseenPlan:
    asked = method.hyperparameters
    plan = resolve_plan(asked, grader=method.grader, **vars(facts))
    shown = asdict(plan)
    if not facts.base_lengths:
        shown["kl_budget_nats"] = None
        if asked.max_completion_tokens == "auto":
            shown["max_completion_tokens"] = None
    return ForeseenPlan(plan=shown, reasons=reinforcement_reasons(asked, plan, facts), warnings=warnings)


def _supervised(asked: SupervisedHyperparameters, facts: Facts, warnings: tuple[str, ...]) -> ForeseenPlan:
    plan = resolve_supervised_plan(
        asked,
        num_rows=facts.num_rows,
        select_items=facts.select_items,
        report_items=facts.report_items,
        in_sample=facts.in_sample,
        hidden_size=facts.hidden_size,
    )
    reasons = supervised_reasons(asked, plan, hidden_size=facts.hidden_size)
    return ForeseenPlan(plan=asdict(plan), reasons=reasons, warnings=warnings)
