"""`reward_model` and `process`: a trained model's opinion of an answer, or of each step of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from fettle_graders.grade import Scored, ScoreOne
from fettle_graders.kinds.scorer import ProcessSpec, RewardModelSpec
from fettle_graders.sample import Sample
from fettle_graders.services import Scorer
from fettle_graders.template import parse_template

_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")


def reward_model_score(spec: RewardModelSpec | ProcessSpec, scorer: Scorer) -> ScoreOne:
    prompt, text = parse_template(spec.prompt), parse_template(spec.input)

    def score(item: Mapping[str, Any], sample: Sample) -> Scored:
        asked, answer = prompt.render(item, sample), text.render(item, sample)
        if isinstance(spec, RewardModelSpec):
            (value,) = scorer.score(spec.model, [whole_text(asked, answer)])
            return Scored(value if spec.activation == "none" else _sigmoid(value))
        texts = step_texts(asked, answer, max_steps=spec.max_steps)
        if not texts:
            return Scored(0.0, message="the answer has no steps: it is empty")
        steps = [_sigmoid(value) for value in scorer.score(spec.model, texts)]
        return Scored(aggregated(steps, spec.aggregate), notes={"steps": steps})

    return score


def whole_text(prompt: str, answer: str) -> str:
    """What an outcome reward model reads, in training as in grading."""
    return f"{prompt}\n\n{answer}"


def step_texts(prompt: str, answer: str, *, max_steps: int) -> list[str]:
    """What a process reward model reads: the text up to the end of each step. Steps beyond `max_steps` are one."""
    steps = [step for step in _BLANK_LINES.split(answer.strip(), max_steps - 1) if step]
    return [whole_text(prompt, "\n\n".join(steps[: number + 1])) for number in range(len(steps))]


def aggregated(steps: list[float], how: str) -> float:
    """`min`: an answer is as good as its worst step; `product`: all have to be good; `last`: the whole text."""
    if how == "last":
        return steps[-1]
    return min(steps) if how == "min" else math.prod(steps)


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else 1 - 1 / (1 + math.exp(value))
