"""What `auto` means: one function per derived value, each with its source. The result is stored and shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from fettle_graders.spec import GraderSpec
from fettle_workers.contract.spec import (
    ReinforcementHyperparameters,
    SupervisedHyperparameters,
)
from fettle_workers.engine.errors import JobFailed
from fettle_workers.engine.lora import ALPHA
from fettle_workers.engine.parts import grader_weights, watched_graders

MIN_COMPLETIONS_PER_STEP = 64
COMPLETIONS_PER_STEP = 128
AUTO_STEPS = 150
MAX_EVALUATIONS = 40
EFFORT = {"low": 0.5, "default": 1.0, "medium": 1.0, "high": 2.0}
# Completion budgets are bounded by this when the base's own answers do not end; times the reasoning effort.
MAX_AUTO_COMPLETION_TOKENS = 2048
MIN_AUTO_COMPLETION_TOKENS = 32
PROBE_PROMPTS = 32


@dataclass(frozen=True)
class Plan:
    """A reinforcement job, every value resolved. Written into each checkpoint: a resumed job does not resolve again.

    Attributes:
        batch_size: prompts per update; each is sampled in `prompt_copies` groups of `group_size` completions.
        report_items: held-out rows that only the final gain is measured on; the other `select_items` are evaluated
            during training. The two are the same rows when there are too few to split.
        finalist_samples: completions per item that the last few candidates have in the end.
        final_samples: completions per report item in the final measurement.
        updates_per_rollout: optimizer updates in a step, each on as many prompts as `batch_size` says.
        kl_coef: None means zero until the KL budget is passed.
        length_penalty: None means zero until answers grow without getting better.
        in_sample: there are no held-out rows, evaluations use training rows.
        grader_weights: of a multi grader whose formula is a weighted sum: its graders are brought to one spread before
            they are weighted. None: the reward is taken as it is.
        watched_graders: of a multi grader, those that its formula does not read: held against the reward.
    """

    num_rows: int
    n_epochs: int
    batch_size: int
    prompt_copies: int
    group_size: int
    updates_per_rollout: int
    steps_per_epoch: int
    total_steps: int
    learning_rate: float
    warmup_steps: int
    lora_rank: int
    lora_alpha: int
    temperature: float
    max_completion_tokens: int
    reasoning_effort: str
    eval_interval: int
    eval_samples: int
    finalist_samples: int
    final_samples: int
    select_items: int
    report_items: int
    in_sample: bool
    kl_coef: float | None
    length_penalty: float | None
    kl_budget_nats: float
    early_stopping: bool
    grader_weights: dict[str, float] | None = None
    watched_graders: list[str] = field(default_factory=list)

    @property
    def prompts_per_step(self) -> int:
        return self.batch_size * self.updates_per_rollout

    @property
    def completions_per_step(self) -> int:
        return self.prompts_per_step * self.prompt_copies * self.group_size


@dataclass(frozen=True)
class SupervisedPlan:
    """A supervised job, every value resolved."""

    num_rows: int
    n_epochs: int
    batch_size: int
    steps_per_epoch: int
    total_steps: int
    learning_rate: float
    warmup_steps: int
    lora_rank: int
    lora_alpha: int
    eval_interval: int
    select_items: int
    report_items: int
    in_sample: bool
    early_stopping: bool


@dataclass(frozen=True)
class Facts:
    """What a reinforcement plan is made from, beside what was asked and its grader: the arguments of `resolve_plan`."""

    num_rows: int
    select_items: int
    report_items: int
    in_sample: bool
    hidden_size: int
    completion_room: int
    base_lengths: Sequence[int]


def resolve_plan(
    hyperparameters: ReinforcementHyperparameters,
    *,
    num_rows: int,
    select_items: int,
    report_items: int,
    in_sample: bool,
    hidden_size: int,
    completion_room: int,
    base_lengths: Sequence[int],
    grader: GraderSpec | None = None,
) -> Plan:
    """Resolve every `auto`.

    Args:
        hidden_size: width of the base model.
        completion_room: tokens that the context leaves behind the longest prompt.
        base_lengths: lengths in tokens of the base's own answers to some training prompts.
        grader: the job's; None is one without parts.
    """
    asked = hyperparameters
    size = group_size(asked)
    updates = updates_per_rollout(asked.updates_per_rollout)
    batch, copies = batch_shape(asked, num_rows=num_rows, group_size=size)
    epochs = num_epochs(asked.n_epochs, num_rows=num_rows, batch_size=batch)
    steps = total_steps(asked.max_steps, num_rows=num_rows, n_epochs=epochs, batch_size=batch * updates)
    samples = eval_samples(asked, num_items=select_items)
    max_tokens = max_completion_tokens(asked, room=completion_room, base_lengths=base_lengths)
    return Plan(
        num_rows=num_rows,
        n_epochs=epochs,
        batch_size=batch,
        prompt_copies=copies,
        group_size=size,
        updates_per_rollout=updates,
        steps_per_epoch=math.ceil(num_rows / (batch * updates)),
        total_steps=steps,
        learning_rate=reinforcement_lr(hidden_size) * _multiplier(asked.learning_rate_multiplier),
        warmup_steps=warmup_steps(steps),
        lora_rank=lora_rank(asked.lora_rank),
        lora_alpha=ALPHA,
        temperature=1.0 if asked.temperature == "auto" else asked.temperature,
        max_completion_tokens=max_tokens,
        reasoning_effort=asked.reasoning_effort,
        eval_interval=eval_interval(
            asked.eval_interval,
            total_steps=steps,
            eval_completions=select_items * samples,
            step_completions=batch * updates * copies * size,
            updates_per_step=updates,
        ),
        eval_samples=samples,
        finalist_samples=finalist_samples(samples, num_items=select_items),
        final_samples=final_samples(samples, num_items=report_items),
        select_items=select_items,
        report_items=report_items,
        in_sample=in_sample,
        kl_coef=None if asked.kl_coef == "auto" else asked.kl_coef,
        length_penalty=None if asked.length_penalty == "auto" else asked.length_penalty,
        kl_budget_nats=kl_budget(base_lengths, max_tokens=max_tokens),
        early_stopping=asked.early_stopping is not False,
        grader_weights=grader_weights(grader),
        watched_graders=watched_graders(grader),
    )


def resolve_supervised_plan(
    hyperparameters: SupervisedHyperparameters,
    *,
    num_rows: int,
    select_items: int,
    report_items: int,
    in_sample: bool,
    hidden_size: int,
) -> SupervisedPlan:
    """The same for supervised tuning."""
    asked = hyperparameters
    batch = supervised_batch_size(asked.batch_size, num_rows=num_rows)
    epochs = supervised_epochs(asked.n_epochs, num_rows=num_rows, batch_size=batch)
    steps = total_steps(asked.max_steps, num_rows=num_rows, n_epochs=epochs, batch_size=batch)
    return SupervisedPlan(
        num_rows=num_rows,
        n_epochs=epochs,
        batch_size=batch,
        steps_per_epoch=math.ceil(num_rows / batch),
        total_steps=steps,
        learning_rate=supervised_lr(hidden_size) * _multiplier(asked.learning_rate_multiplier),
        warmup_steps=warmup_steps(steps),
        lora_rank=lora_rank(asked.lora_rank),
        lora_alpha=ALPHA,
        eval_interval=eval_interval(
            asked.eval_interval, total_steps=steps, eval_completions=select_items, step_completions=3 * batch
        ),
        select_items=select_items,
        report_items=report_items,
        in_sample=in_sample,
        early_stopping=True,
    )


def lora_rank(asked: int | str) -> int:
    """16: every rank from 8 on learned alike (arXiv:2512.23165 finds rank 1 too small), and every server allows it."""
    return 16 if asked == "auto" else int(asked)


def group_size(asked: ReinforcementHyperparameters) -> int:
    """Completions per group: 16, times `compute_multiplier`, between 2 and 64.

    16 is the middle of what is published (8 to 64; 32 and more for hard yes-or-no rewards).
    """
    if asked.group_size != "auto":
        return asked.group_size
    return min(64, max(2, round(16 * _multiplier(asked.compute_multiplier))))


def updates_per_rollout(asked: int | str) -> int:
    """1: every completion then trains the policy that drew it. More sample larger batches and train on parts of them.

    Source: DASH, arXiv:2505.17218, which reports a sixth of the wall time where sampling dominates.
    """
    return 1 if asked == "auto" else int(asked)


def batch_shape(asked: ReinforcementHyperparameters, *, num_rows: int, group_size: int) -> tuple[int, int]:
    """Prompts per update, and how many groups each gets.

    About 128 completions an update, what published few-item runs use at the least. Fewer rows than that needs are all
    taken in every step; a single row or two are sampled in several groups until a step has 64 completions, as in
    one-example RLVR (arXiv:2504.20571, which copies its one row 128 times).
    """
    if asked.batch_size != "auto":
        return asked.batch_size, 1
    batch = min(num_rows, max(1, COMPLETIONS_PER_STEP // group_size))
    return batch, max(1, math.ceil(MIN_COMPLETIONS_PER_STEP / (batch * group_size)))


def num_epochs(asked: int | str, *, num_rows: int, batch_size: int) -> int:
    """Passes over the rows: as many as make 150 steps, at least one. Few rows are visited often.

    Results follow the number of steps, not the number of different rows (arXiv:2509.25300); early stopping and the
    choice of checkpoint bound the harm of too many.
    """
    return _epochs_for(AUTO_STEPS, asked, num_rows=num_rows, batch_size=batch_size)


def supervised_epochs(asked: int | str, *, num_rows: int, batch_size: int) -> int:
    """At least 3 passes, or as many as make 60 steps, at most 25: repeated demonstrations are memorised sooner."""
    if asked != "auto":
        return int(asked)
    return min(25, max(3, _epochs_for(60, asked, num_rows=num_rows, batch_size=batch_size)))


def _epochs_for(steps: int, asked: int | str, *, num_rows: int, batch_size: int) -> int:
    if asked != "auto":
        return int(asked)
    return min(10_000, max(1, math.ceil(steps * batch_size / num_rows)))


def total_steps(asked: int | str, *, num_rows: int, n_epochs: int, batch_size: int) -> int:
    """Steps of all epochs (an epoch may end inside a step), at most `max_steps`."""
    steps = max(1, math.ceil(num_rows * n_epochs / batch_size))
    return steps if asked == "auto" else min(steps, int(asked))


def reinforcement_lr(hidden_size: int) -> float:
    """4e-5 at width 3584 (7 B), inversely proportional to the width: 1.1e-3 at width 128.

    Published LoRA runs at 7 to 9 B use 2e-5 to 1e-4; at width 128, 1e-3 to 2e-3 were stable and 1e-2 collapsed. The
    slope is that of Adam under the maximal-update parametrisation, Yang et al. 2022, arXiv:2203.03466. With alpha
    fixed at 32 the best rate hardly depends on the rank.
    """
    return 4e-5 * 3584 / hidden_size


def supervised_lr(hidden_size: int) -> float:
    """2e-4 at width 3584, falling with the square root of the width: 1.1e-3 at width 128.

    2e-4 is the usual LoRA rate at 7 B, ten times that of full tuning. The slope is our own choice between none and
    that of `reinforcement_lr`.
    """
    return 2e-4 * math.sqrt(3584 / hidden_size)


def warmup_steps(steps: int) -> int:
    """10, or a tenth of a short job, never 0: Adam's first steps have full length whatever the signal."""
    return max(1, min(10, steps // 10))


def supervised_batch_size(asked: int | str, *, num_rows: int) -> int:
    """8 rows, fewer when there are few: LoRA tolerates large supervised batches less than full tuning."""
    return min(8, num_rows) if asked == "auto" else int(asked)


def eval_samples(asked: ReinforcementHyperparameters, *, num_items: int) -> int:
    """Answers per held-out row: about 200 in all, from 1 to 16. More rows tell more than more answers to each."""
    if asked.eval_samples != "auto":
        return asked.eval_samples
    return min(16, max(1, round(200 / num_items)))


def finalist_samples(samples: int, *, num_items: int) -> int:
    """16 per row for the last few candidates, fewer when that makes more than 2000 answers a candidate."""
    return max(samples, min(16, 2000 // num_items))


def final_samples(samples: int, *, num_items: int) -> int:
    """The final measurement draws four times as many per row, while that stays under 2000 answers a checkpoint."""
    return max(samples, min(4 * samples, 2000 // num_items))


def eval_interval(
    asked: int | str, *, total_steps: int, eval_completions: int, step_completions: int, updates_per_step: int = 1
) -> int:
    """Steps between evaluations: at least 5 updates, at most 40 evaluations, at most a quarter of the completions."""
    if asked != "auto":
        return min(int(asked), total_steps)
    affordable = math.ceil(3 * eval_completions / step_completions)
    return min(total_steps, max(math.ceil(5 / updates_per_step), math.ceil(total_steps / MAX_EVALUATIONS), affordable))


def max_completion_tokens(asked: ReinforcementHyperparameters, *, room: int, base_lengths: Sequence[int]) -> int:
    """Twice the length of the base's longest own answers (99th percentile), times the reasoning effort.

    Twice, because answers may have to grow to become right. Bounded by 2048 times the effort, and by the context.

    Raises:
        JobFailed: the asked length does not fit behind the longest prompt.
    """
    if asked.max_completion_tokens != "auto":
        if asked.max_completion_tokens > room:
            raise JobFailed(
                "invalid_hyperparameters",
                f"max_completion_tokens is {asked.max_completion_tokens}, but the model's context leaves {room} tokens "
                "behind the longest prompt; shorten the prompt or lower max_completion_tokens",
                param="method.reinforcement.hyperparameters.max_completion_tokens",
            )
        return asked.max_completion_tokens
    longest = sorted(base_lengths)[int(0.99 * (len(base_lengths) - 1))] if base_lengths else MAX_AUTO_COMPLETION_TOKENS
    wanted = max(MIN_AUTO_COMPLETION_TOKENS, math.ceil(2 * longest * EFFORT[asked.reasoning_effort]))
    return min(room, wanted, auto_completion_bound(asked.reasoning_effort))


def auto_completion_bound(reasoning_effort: str) -> int:
    return round(MAX_AUTO_COMPLETION_TOKENS * EFFORT[reasoning_effort])


def kl_budget(base_lengths: Sequence[int], *, max_tokens: int) -> float:
    """Nats per token: 20 nats per answer of the base's mean length, at least 0.02 per token.

    Choosing one habit among e^20 is more than any sound change of behaviour needs, so a run that passes it has left the
    base's language; for answers of 1000 tokens this is the 0.02 per token from which published runs begin to drift.
    """
    mean = sum(base_lengths) / len(base_lengths) if base_lengths else max_tokens
    return max(0.02, 20 / max(1.0, mean))


def _multiplier(asked: float | str) -> float:
    return 1.0 if asked == "auto" else float(asked)
