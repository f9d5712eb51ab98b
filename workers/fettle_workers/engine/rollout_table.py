"""Rollouts as a compressed columnar file: what regrading, row history, viewers and audits read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fettle_workers.engine.chat import ChatFormat
from fettle_workers.engine.rollout import Rollout

# One row a completion. `row` counts from 0 in the file that `source` names. Maps are JSON text.
SCHEMA = pa.schema(
    [
        ("purpose", pa.string()),  # train, eval, final (more answers for the last candidates), report
        ("step", pa.int32()),
        ("policy_version", pa.int32()),  # the step whose adapter sampled it
        ("epoch", pa.float32()),
        ("source", pa.string()),
        ("row", pa.int32()),
        ("sample_index", pa.int32()),
        ("prompt_ids", pa.list_(pa.int32())),
        ("ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float32())),
        ("token_chars", pa.list_(pa.int16())),  # characters each id wrote of reasoning, then text; null: not told apart
        ("text", pa.string()),
        ("reasoning", pa.string()),
        ("tool_calls", pa.string()),
        ("reward", pa.float64()),  # null: grading failed
        ("sub_rewards", pa.string()),
        ("advantage", pa.float64()),  # null: had no part in the loss
        ("num_tokens", pa.int32()),
        ("num_reasoning_tokens", pa.int32()),
        ("finish_reason", pa.string()),
        ("error", pa.string()),
        ("error_flags", pa.list_(pa.string())),
    ]
)


def write_rollouts(path: Path, rollouts: Sequence[Rollout], chat: ChatFormat) -> None:
    """Write a Parquet file with zstd; an empty one has the schema all the same."""
    table = pa.Table.from_pylist([_record(rollout, chat) for rollout in rollouts], schema=SCHEMA)
    pq.write_table(table, path, compression="zstd")


def _record(rollout: Rollout, chat: ChatFormat) -> dict[str, Any]:
    completion, parsed, grade = rollout.completion, rollout.parsed, rollout.grade
    return {
        "purpose": rollout.purpose,
        "step": rollout.step,
        "policy_version": rollout.policy_step,
        "epoch": rollout.epoch,
        "source": rollout.row.source,
        "row": rollout.row.index,
        "sample_index": rollout.sample_index,
        "prompt_ids": rollout.row.prompt_ids,
        "ids": completion.ids,
        "logprobs": completion.logprobs,
        "token_chars": chat.token_chars(completion.ids, parsed),
        "text": _storable(parsed.text),
        "reasoning": _storable(parsed.reasoning),
        "tool_calls": json.dumps([asdict(call) for call in parsed.tool_calls]) if parsed.tool_calls else None,
        "reward": grade.score,
        "sub_rewards": json.dumps(dict(grade.sub_scores)) if grade.sub_scores else None,
        "advantage": rollout.advantage,
        "num_tokens": len(completion.ids),
        "num_reasoning_tokens": parsed.num_reasoning_tokens,
        "finish_reason": completion.finish_reason,
        "error": _storable(grade.message),
        "error_flags": list(grade.errors.raised()),
    }


def _storable(text: str | None) -> str | None:
    """Half a surrogate pair, which JSON rows may hold, has no UTF-8."""
    return None if text is None else text.encode("utf-8", "replace").decode("utf-8")
