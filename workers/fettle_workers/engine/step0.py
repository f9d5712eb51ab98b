"""A preflight's answers to the held-out rows, read back as the evaluation at step 0 of a job.

Both would draw them with the same seeds from the same model, so they are the same answers; whatever could make a
difference is compared, and a difference means that the job answers the rows itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fettle_graders.grade import Grade, GradeErrors
from fettle_workers.contract.preflight import Step0Settings
from fettle_workers.engine.chat import ChatFormat
from fettle_workers.engine.data import Row
from fettle_workers.engine.plan import Plan
from fettle_workers.engine.rollout import Rollout
from fettle_workers.engine.sampler import Completion


class Step0Differs(Exception):
    """The stored answers are not those that the job would give; the message says why."""


def read_step0(
    path: Path | None, settings: Step0Settings, *, rows: Sequence[Row], plan: Plan, chat: ChatFormat
) -> list[list[Rollout]]:
    """The graded answers to `rows`, one group a row, `plan.eval_samples` each.

    Raises:
        Step0Differs: the file is gone, or was sampled in another way or from other prompts.
    """
    if path is None or not path.is_file():
        raise Step0Differs("its file is no longer in the store.")
    for name in ("eval_samples", "max_completion_tokens", "temperature"):
        then, now = getattr(settings, name), getattr(plan, name)
        if then != now:
            raise Step0Differs(f"{name} was {then} and is {now}.")
    stored = {
        (record["source"], record["row"], record["sample_index"]): record
        for record in pq.read_table(path, filters=[("purpose", "=", "eval")]).to_pylist()
    }
    groups = [[_rollout(row, k, stored, chat) for k in range(plan.eval_samples)] for row in rows]
    if len(stored) != len(rows) * plan.eval_samples:
        raise Step0Differs(f"it has {len(stored)} answers, and {len(rows)} rows need {plan.eval_samples} each.")
    return groups


def _rollout(row: Row, index: int, stored: dict[tuple[str, int, int], dict[str, Any]], chat: ChatFormat) -> Rollout:
    record = stored.get((row.source, row.index, index))
    if record is None:
        raise Step0Differs(f"it has no answer number {index} to {row.name}.")
    if tuple(record["prompt_ids"]) != row.prompt_ids:
        raise Step0Differs(f"{row.name} reads differently now.")
    completion = Completion(
        request_index=0,  # of the call that sampled it, which is over
        sample_index=index,
        ids=tuple(record["ids"]),
        logprobs=tuple(record["logprobs"]),
        finish_reason=record["finish_reason"],
    )
    return Rollout("eval", 0, 0, 0.0, row, index, completion, chat.parse(completion.ids), _grade(record))


def _grade(record: dict[str, Any]) -> Grade:
    """What the table keeps of a grade: not how long it took, nor which grader inside a multi raised a flag."""
    flags: dict[str, Any] = dict.fromkeys(record["error_flags"] or (), True)
    scores: dict[str, float | None] = json.loads(record["sub_rewards"]) if record["sub_rewards"] else {}
    score = record["reward"]
    return Grade(
        score=None if score is None or math.isnan(score) else score,
        errors=GradeErrors(**flags),
        sub_scores=scores,
        sub_errors={name: GradeErrors() for name in scores},
        message=record["error"],
    )
