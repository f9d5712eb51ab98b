"""Metrics in the shapes that tools for the OpenAI wire read: event data, event message, checkpoint metrics, CSV.

Pure functions of the contract's StepMetrics and Evaluation. Both the nested and the older flat keys are given, and
`valid_*` appears only where an evaluation was made; names come from the public fine-tuning guide and result files.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from fettle_graders.services import TokenUsage
from fettle_workers.contract.events import Evaluation, GraderMetrics, StepMetrics

Values = dict[str, Any]
StepRecord = tuple[int, StepMetrics | None, Evaluation | None]

SUPERVISED_COLUMNS = (
    "step",
    "train_loss",
    "train_mean_token_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
)
REINFORCEMENT_COLUMNS = (
    "step",
    "train_mean_reward",
    "full_valid_mean_reward",
    "completion_tokens_mean",
    "reasoning_tokens_mean",
    "mean_unresponsive_rewards",
    "sampling_duration",
    "training_duration",
    "eval_duration",
    "total_duration",
    "pg_loss_sum",
    "total_loss_sum",
    "entropy_loss_sum",
)


def event_data(
    step: int, total_steps: int | None, metrics: StepMetrics | None, evaluation: Evaluation | None, *, method: str
) -> Values:
    """The `data` of a metrics event. One of `metrics` and `evaluation` may be missing, never both."""
    head: Values = {"step": step, "total_steps": total_steps}
    if method == "supervised":
        return head | _supervised(metrics, evaluation) | {"fettle": _fettle(metrics, evaluation)}
    data = head | {
        "scores": _scores(metrics, evaluation),
        "usage": {"samples": _usage(metrics, evaluation), "graders": _judge_usage(metrics, evaluation)},
        "errors": {"graders": _errors(metrics, evaluation)},
        "timing": _timing(metrics, evaluation),
    }
    flat = _reinforcement_flat(metrics, evaluation) | _judge_tokens(metrics, evaluation)
    return data | flat | {"fettle": _fettle(metrics, evaluation)}


def event_message(
    step: int, total_steps: int | None, metrics: StepMetrics | None, evaluation: Evaluation | None, *, method: str
) -> str:
    parts: list[tuple[str, float | None]] = []
    if method == "supervised":
        if metrics:
            parts.append(("training loss", metrics.train_loss))
        if evaluation:
            parts.append(("full validation loss", evaluation.valid_loss))
    else:
        if metrics:
            parts.append(("train mean reward", metrics.train_reward_mean))
        if evaluation:
            parts.append(("full validation mean reward", evaluation.mean))
            parts.append(("full validation mean parse error", _parse_error_mean(evaluation)))
    said = ", ".join(f"{name}={value:.4f}" for name, value in parts if value is not None)
    total = f"/{total_steps}" if total_steps is not None else ""
    return f"Step {step}{total}: {said}" if said else f"Step {step}{total}"


def checkpoint_metrics(step: int, metrics: StepMetrics | None, evaluation: Evaluation | None, *, method: str) -> Values:
    """The `metrics` of a checkpoint: numbers only, those without a value left out."""
    if method == "supervised":
        return {"step": step} | _supervised(metrics, evaluation)
    values: Values = {"step": step} | _reinforcement_flat(metrics, evaluation)
    if metrics:
        values["train_reward_mean"] = metrics.train_reward_mean
    if evaluation:
        values |= {
            "valid_reward_mean": evaluation.mean,
            "valid_reward_standard_error": evaluation.standard_error,
            "kl_nats": evaluation.kl_nats,
        }
    return _present(values)


def results_csv(records: Sequence[StepRecord], *, method: str) -> bytes:
    """The results file: one row a step, an empty cell where nothing was measured.

    Args:
        records: (step, metrics, evaluation) by ascending step.
    """
    rows = [csv_row(step, metrics, evaluation, method=method) for step, metrics, evaluation in records]
    columns = list(SUPERVISED_COLUMNS if method == "supervised" else REINFORCEMENT_COLUMNS)
    columns += sorted({key for row in rows for key in row} - set(columns))
    sink = io.StringIO()
    writer = csv.DictWriter(sink, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().encode()


def csv_row(step: int, metrics: StepMetrics | None, evaluation: Evaluation | None, *, method: str) -> Values:
    """`pg_loss_sum` and `entropy_loss_sum` stay empty: Fettle reports one loss, of which they are not parts."""
    if method == "supervised":
        return _present({"step": step} | _supervised(metrics, evaluation))
    flat = _reinforcement_flat(metrics, evaluation)
    row: Values = {"step": step} | {key: flat.get(key) for key in REINFORCEMENT_COLUMNS if key != "step"}
    if metrics:
        timing = metrics.timing
        row |= {
            "sampling_duration": timing.sampling_s,
            "training_duration": timing.training_s,
            "eval_duration": timing.eval_s,
            "total_duration": timing.total_s,
            "total_loss_sum": metrics.loss,
        }
    for source in _graders(metrics, evaluation):
        row |= _grader_cells(source, metrics)
    return _present(row)


def _grader_cells(grader: GraderMetrics, metrics: StepMetrics | None) -> Values:
    scores = f"scores/graders/{grader.type}/{grader.name}"
    errors = f"errors/graders/{grader.type}/{grader.name}/errors"
    cells: Values = {
        f"{scores}/train_reward_mean": grader.train_reward_mean,
        f"{scores}/valid_reward_mean": grader.valid_reward_mean,
    }
    for key, value in _error_values(grader, "train", metrics.num_completions if metrics else None).items():
        cells[f"{errors}/{key}"] = value
    return cells


def _scores(metrics: StepMetrics | None, evaluation: Evaluation | None) -> Values:
    scores: Values = {}
    if metrics:
        scores["train_reward_mean"] = metrics.train_reward_mean
    if evaluation:
        scores["valid_reward_mean"] = evaluation.mean
    scores["graders"] = [
        _present(
            {
                "name": grader.name,
                "type": grader.type,
                "train_reward_mean": grader.train_reward_mean,
                "valid_reward_mean": grader.valid_reward_mean,
            }
        )
        for grader in _graders(metrics, evaluation)
    ]
    return scores


def _usage(metrics: StepMetrics | None, evaluation: Evaluation | None) -> Values:
    usage: Values = {}
    if metrics and metrics.reasoning_tokens_mean is not None:
        usage["train_reasoning_tokens_mean"] = metrics.reasoning_tokens_mean
        usage["train_reasoning_tokens_count"] = metrics.num_completions
    if evaluation and evaluation.reasoning_tokens_mean is not None:
        usage["valid_reasoning_tokens_mean"] = evaluation.reasoning_tokens_mean
        usage["valid_reasoning_tokens_count"] = evaluation.num_items * evaluation.samples_per_item
    return _present(usage)


def _judge_usage(metrics: StepMetrics | None, evaluation: Evaluation | None) -> list[Values]:
    """Tokens of judges, by grader and model: means over as many completions as `count` says, as with the samples'."""
    found: list[Values] = []
    for grader in _graders(metrics, evaluation):
        for model in sorted(grader.train_usage | grader.valid_usage):
            entry: Values = {"name": grader.name, "type": grader.type, "model": model}
            for side, usage, count in _sides(grader, metrics, evaluation):
                for kind in ("prompt_tokens", "completion_tokens"):
                    if model in usage and count:
                        entry[f"{side}_{kind}_mean"] = getattr(usage[model], kind) / count
                        entry[f"{side}_{kind}_count"] = count
            found.append(entry)
    return found


def _judge_tokens(metrics: StepMetrics | None, evaluation: Evaluation | None) -> Values:
    """The older form: totals of each judge model, whichever grader asked it."""
    found: Values = {}
    for grader in _graders(metrics, evaluation):
        for side, usage in (("train", grader.train_usage), ("eval", grader.valid_usage)):
            for model, tokens in usage.items():
                entry = found.setdefault(model, {})
                for kind in ("cached_tokens", "prompt_tokens", "completion_tokens"):
                    entry[f"{side}_{kind}"] = entry.get(f"{side}_{kind}", 0) + getattr(tokens, kind)
    return {"model_graders_token_usage": found} if found else {}


def _sides(
    grader: GraderMetrics, metrics: StepMetrics | None, evaluation: Evaluation | None
) -> tuple[tuple[str, Mapping[str, TokenUsage], int | None], ...]:
    """(prefix, tokens by model, completions) of training and of validation."""
    num_valid = evaluation.num_items * evaluation.samples_per_item if evaluation else None
    return (
        ("train", grader.train_usage, metrics.num_completions if metrics else None),
        ("valid", grader.valid_usage, num_valid),
    )


def _errors(metrics: StepMetrics | None, evaluation: Evaluation | None) -> list[Values]:
    train_total = metrics.num_completions if metrics else None
    valid_total = evaluation.num_items * evaluation.samples_per_item if evaluation else None
    return [
        {"name": grader.name, "type": grader.type}
        | _error_values(grader, "train", train_total)
        | _error_values(grader, "valid", valid_total)
        for grader in _graders(metrics, evaluation)
    ]


def _error_values(grader: GraderMetrics, side: str, total: int | None) -> Values:
    counts = grader.train_errors if side == "train" else grader.valid_errors
    values: Values = {}
    for name, count in sorted(counts.items()):
        values[f"{side}_{name}_count"] = count
        if total:
            values[f"{side}_{name}_mean"] = count / total
    return values


def _timing(metrics: StepMetrics | None, evaluation: Evaluation | None) -> Values:
    timing: Values = {}
    if metrics:
        measured = metrics.timing
        timing["step"] = {
            "eval": measured.eval_s,
            "sampling": measured.sampling_s,
            "training": measured.training_s,
            "full_iteration": measured.total_s,
        }
    timing["graders"] = [
        _present(
            {
                "name": grader.name,
                "type": grader.type,
                "train_execution_latency_mean": grader.train_latency_s_mean,
                "valid_execution_latency_mean": grader.valid_latency_s_mean,
            }
        )
        for grader in _graders(metrics, evaluation)
    ]
    return timing


def _reinforcement_flat(metrics: StepMetrics | None, evaluation: Evaluation | None) -> Values:
    flat: Values = {}
    if metrics:
        flat |= {
            "train_mean_reward": metrics.train_reward_mean,
            "completion_tokens_mean": metrics.completion_tokens_mean,
            "reasoning_tokens_mean": metrics.reasoning_tokens_mean,
            "mean_unresponsive_rewards": metrics.unresponsive_share,
        }
    if evaluation:
        flat |= {
            "full_valid_mean_reward": evaluation.mean,
            "valid_reasoning_tokens_mean": evaluation.reasoning_tokens_mean,
            "full_valid_mean_parse_error": _parse_error_mean(evaluation),
        }
    return _present(flat)


def _supervised(metrics: StepMetrics | None, evaluation: Evaluation | None) -> Values:
    values: Values = {}
    if metrics:
        values |= {
            "train_loss": metrics.train_loss,
            "train_mean_token_accuracy": metrics.train_mean_token_accuracy,
        }
    if evaluation:
        values |= {
            "valid_loss": evaluation.valid_loss,
            "valid_mean_token_accuracy": evaluation.valid_mean_token_accuracy,
            "full_valid_loss": evaluation.valid_loss,
            "full_valid_mean_token_accuracy": evaluation.valid_mean_token_accuracy,
        }
    return _present(values)


def _fettle(metrics: StepMetrics | None, evaluation: Evaluation | None) -> Values:
    """What the wire has no name for."""
    values: Values = {}
    if metrics:
        values |= metrics.model_dump(
            include={
                "epoch",
                "lr",
                "loss",
                "grad_norm",
                "train_reward_std",
                "kl_nats",
                "entropy_nats",
                "truncated_share",
                "informative_group_share",
                "majority_share",
                "canary_accuracy",
                "masked_share",
                "mismatch_kl_nats",
                "repeated_share",
                "entropy_coef",
                "kl_coef",
                "length_coef",
                "num_completions",
                "num_failed_grades",
                "trained_tokens",
                "tokens_per_s",
                "eta_s",
            }
        )
        values["grading_s"] = metrics.timing.grading_s
    if evaluation:
        values["evaluation"] = evaluation.model_dump(
            include={"standard_error", "kl_nats", "num_items", "samples_per_item", "in_sample", "truncated_share"}
        )
    return _present(values)


def _graders(metrics: StepMetrics | None, evaluation: Evaluation | None) -> list[GraderMetrics]:
    """One entry a grader, the training side from the step and the validation side from the evaluation."""
    merged: dict[str, GraderMetrics] = {}
    for grader in metrics.graders if metrics else ():
        merged[grader.name] = grader.model_copy(
            update={"valid_reward_mean": None, "valid_errors": {}, "valid_latency_s_mean": None, "valid_usage": {}}
        )
    for grader in evaluation.graders if evaluation else ():
        base = merged.get(grader.name, GraderMetrics(name=grader.name, type=grader.type))
        merged[grader.name] = base.model_copy(
            update={
                "valid_reward_mean": grader.valid_reward_mean,
                "valid_errors": grader.valid_errors,
                "valid_latency_s_mean": grader.valid_latency_s_mean,
                "valid_usage": grader.valid_usage,
            }
        )
    return list(merged.values())


def _parse_error_mean(evaluation: Evaluation) -> float | None:
    """Share of evaluation samples that no grader could parse; None when no grader reports errors."""
    counts = [grader.valid_errors.get("sample_parse_error", 0) for grader in evaluation.graders]
    total = evaluation.num_items * evaluation.samples_per_item
    return max(counts) / total if counts and total else None


def _present(values: Values) -> Values:
    return {key: value for key, value in values.items() if value is not None}
