"""A reward model that predicts the grades of stored rollouts: a base with a new head, trained as a whole.

Targets are the rewards, brought to 0..1 by the lowest and highest among them; the loss is binary cross-entropy, so that
the sigmoid of the output is the expected reward. A process model learns the same target from the text up to each step:
what the answer will be worth, seen from here. One row in ten is held out, with all its completions.

Sources: outcome and process supervision, Cobbe et al. 2021, arXiv:2110.14168; Wang et al. 2024, arXiv:2312.08935.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from fettle_graders.errors import GradeFailure
from fettle_graders.kinds.scorer import ProcessSpec, RewardModelSpec
from fettle_graders.reward_model import step_texts, whole_text
from fettle_graders.sample import Sample
from fettle_graders.template import parse_template
from fettle_workers.adapters.scorer import RewardModel

Kind = Literal["outcome", "process"]
_HELD_OUT = 10


class NoExamplesError(ValueError):
    """Nothing to learn from: the caller must bring other rollouts."""


@dataclass(frozen=True)
class Example:
    """A graded completion. `texts` is what the model reads: the whole, or for a process model each beginning."""

    row: int
    texts: tuple[str, ...]
    reward: float


@dataclass(frozen=True)
class Trained:
    """Losses are binary cross-entropies; `pair_accuracy` is over held-out pairs of one row with unequal rewards."""

    num_examples: int
    num_held_out: int
    first_loss: float
    last_loss: float
    held_out_loss: float | None
    pair_accuracy: float | None


def read_examples(
    rows_file: Path,
    rollouts: Sequence[Path],
    *,
    kind: Kind,
    prompt: str = RewardModelSpec.model_fields["prompt"].default,
    input: str = RewardModelSpec.model_fields["input"].default,
    max_steps: int = ProcessSpec.model_fields["max_steps"].default,
) -> list[Example]:
    """Graded completions of training rows, with rewards between 0 and 1.

    Args:
        rows_file: the job's training file, which `row` of the rollouts counts in.
        prompt, input: templates, the same that the grader will have.

    Raises:
        NoExamplesError: no graded completion, or all have one reward.
        GradeFailure: a template reads what a row does not have.
    """
    rows = [json.loads(line) for line in rows_file.read_text("utf-8").splitlines() if line.strip()]
    asked, answered = parse_template(prompt), parse_template(input)
    found = []
    for path in rollouts:
        columns = ["source", "row", "text", "reasoning", "reward"]
        for record in pq.read_table(path, columns=columns).to_pylist():
            if record["source"] != "training_file" or record["reward"] is None:
                continue
            item = rows[record["row"]]
            sample = Sample(record["text"] or "", output_reasoning=record["reasoning"])
            try:
                question, answer = asked.render(item, sample), answered.render(item, sample)
            except GradeFailure as failure:
                raise GradeFailure(failure.flag, f"row {record['row']}: {failure.message}") from failure
            texts = [whole_text(question, answer)]
            if kind == "process":
                texts = step_texts(question, answer, max_steps=max_steps)
            if texts:
                found.append(Example(record["row"], tuple(texts), record["reward"]))
    rewards = [example.reward for example in found]
    if len(set(rewards)) < 2:
        raise NoExamplesError(
            f"found {len(found)} graded completions with {len(set(rewards))} different rewards; a reward model learns "
            "from answers that were graded differently"
        )
    low, high = min(rewards), max(rewards)
    return [Example(one.row, one.texts, (one.reward - low) / (high - low)) for one in found]


def train_reward_model(
    model: RewardModel,
    examples: Sequence[Example],
    *,
    steps: int = 200,
    batch_size: int = 16,
    lr: float = 1e-4,
    seed: int = 0,
    tell: Callable[[str], Any] = print,
) -> Trained:
    """Train in place, and measure on held-out rows before it is used on anything."""
    draw = random.Random(seed)
    held = [one for one in examples if one.row % _HELD_OUT == 0]
    learned = [one for one in examples if one.row % _HELD_OUT] or list(examples)
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=lr, weight_decay=0.01)
    losses = []
    model.network.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / 10) * (1 - step / steps)
        batch = draw.choices(learned, k=batch_size)
        texts = [draw.choice(one.texts) for one in batch]
        targets = torch.tensor([one.reward for one in batch], device=model.network.device)
        loss = binary_cross_entropy_with_logits(model.logits(texts), targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 50 == 49:
            tell(f"step {step + 1} of {steps}: loss {sum(losses[-50:]) / 50:.3f}")
    model.network.eval()
    ends = max(1, min(20, steps // 2))
    scores = model.score([one.texts[-1] for one in held])
    return Trained(
        num_examples=len(learned),
        num_held_out=len(held),
        first_loss=sum(losses[:ends]) / ends,
        last_loss=sum(losses[-ends:]) / ends,
        held_out_loss=_loss(scores, held),
        pair_accuracy=pair_accuracy(scores, held),
    )


def pair_accuracy(scores: Sequence[float], examples: Sequence[Example]) -> float | None:
    """Share of pairs of one row, of unequal reward, that the scores put in the right order; half for a tie."""
    right = []
    for (score, one), (other_score, other) in combinations(zip(scores, examples, strict=True), 2):
        if one.row == other.row and one.reward != other.reward:
            better = (score - other_score) * (one.reward - other.reward)
            right.append(0.5 if better == 0 else float(better > 0))
    return sum(right) / len(right) if right else None


def _loss(scores: Sequence[float], examples: Sequence[Example]) -> float | None:
    if not examples:
        return None
    targets = torch.tensor([one.reward for one in examples])
    return float(binary_cross_entropy_with_logits(torch.tensor(scores), targets))
