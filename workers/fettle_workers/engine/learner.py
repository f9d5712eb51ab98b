"""Gradients over microbatches and AdamW on the adapter."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup

from fettle_workers.engine.logprob import Microbatch, TokenScores, TokenSequence, microbatches, score_tokens
from fettle_workers.engine.loss import Loss
from fettle_workers.engine.model import Policy

BETAS = (0.9, 0.95)
EPS = 1e-8
MAX_GRAD_NORM = 1.0

LossFunction = Callable[[Microbatch, TokenScores], Loss]


@dataclass(frozen=True)
class Gradients:
    """What `Learner.accumulate` left in the parameters: the gradient of `loss`, a mean over `num_tokens` tokens."""

    loss: float
    num_tokens: int
    norm: float
    sums: dict[str, float]


class Learner:
    """The adapter's optimizer. Its whole state is two moments per tensor and a count.

    With a process group, each of its processes calls `accumulate` with its own share of a step's sequences, and all end
    with the gradient over the whole step: equal weights stay equal. The base is replicated.
    """

    def __init__(self, policy: Policy, *, group: ProcessGroup | None = None) -> None:
        self.policy, self._group = policy, group
        self._parameters = policy.parameters()
        self.num_updates = 0
        self._first = {name: torch.zeros_like(parameter) for name, parameter in self._parameters.items()}
        self._second = {name: torch.zeros_like(parameter) for name, parameter in self._parameters.items()}

    def accumulate(
        self, sequences: Sequence[TokenSequence], loss: LossFunction, *, temperature: float, entropy_grad: bool = False
    ) -> Gradients:
        """Gradient of the mean loss per unmasked token over all sequences, however they are cut into microbatches.

        Masks are only known after each forward pass, so sums are accumulated and divided once at the end.

        Args:
            entropy_grad: the loss uses the gradient of the tokens' entropy.
        """
        for parameter in self._parameters.values():
            parameter.grad = None
        total, num_tokens, sums = 0.0, 0, dict[str, float]()
        for batch in microbatches(self.policy, sequences):
            scores = score_tokens(self.policy, batch, temperature=temperature, entropy_grad=entropy_grad)
            part = loss(batch, scores)
            part.total.backward()
            total += float(part.total.detach())
            num_tokens += int(part.num_tokens)
            for name, value in (*part.sums.items(), ("entropy", scores.entropy_N.detach().sum())):
                sums[name] = sums.get(name, 0.0) + float(value)
        if self._group is not None:
            total, num_tokens, sums = self._over_processes(self._group, total, num_tokens, sums)
        return Gradients(total / max(1, num_tokens), num_tokens, self._scale_gradients(num_tokens), sums)

    def _over_processes(
        self, group: ProcessGroup, total: float, num_tokens: int, sums: dict[str, float]
    ) -> tuple[float, int, dict[str, float]]:
        """Add up what the processes found: the gradients in one message, the numbers in another."""
        parameters = list(self._parameters.values())
        flat = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters])
        distributed.all_reduce(flat, group=group)
        for parameter, gradient in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = gradient.view_as(parameter)
        found: list[Any] = [None] * group.size()
        distributed.all_gather_object(found, (total, num_tokens, sums), group=group)
        names = dict.fromkeys(name for _, _, part in found for name in part)
        return (
            sum(one for one, _, _ in found),
            sum(count for _, count, _ in found),
            {name: sum(part.get(name, 0.0) for _, _, part in found) for name in names},
        )

    def _scale_gradients(self, num_tokens: int) -> float:
        squares = 0.0
        for parameter in self._parameters.values():
            if parameter.grad is not None:
                parameter.grad /= max(1, num_tokens)
                squares += float(parameter.grad.double().square().sum())
        return math.sqrt(squares) if math.isfinite(squares) else math.nan

    @torch.no_grad()
    def update(self, *, lr: float, grad_norm: float) -> None:
        """One AdamW step without weight decay, the gradient's norm clipped to 1.

        Source: Kingma & Ba 2015, arXiv:1412.6980.
        """
        self.num_updates += 1
        clip = min(1.0, MAX_GRAD_NORM / max(grad_norm, 1e-12))
        correction_1 = 1 - BETAS[0] ** self.num_updates
        correction_2 = 1 - BETAS[1] ** self.num_updates
        for name, parameter in self._parameters.items():
            if parameter.grad is None:
                continue
            gradient = parameter.grad * clip
            first, second = self._first[name], self._second[name]
            first.lerp_(gradient, 1 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            parameter.addcdiv_(first, (second / correction_2).sqrt_().add_(EPS), value=-lr / correction_1)

    def reset(self) -> None:
        """Forget the moments, after the weights were set to those of another step."""
        self.num_updates = 0
        for moment in (*self._first.values(), *self._second.values()):
            moment.zero_()

    def tensors(self) -> dict[str, Tensor]:
        """The moments as fp32 CPU tensors, for a checkpoint."""
        named = {f"adam.first.{name}": tensor for name, tensor in self._first.items()}
        named |= {f"adam.second.{name}": tensor for name, tensor in self._second.items()}
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in named.items()}

    def load_tensors(self, tensors: Mapping[str, Tensor], *, num_updates: int) -> None:
        """Take back what `tensors` gave."""
        self.num_updates = num_updates
        for name in self._parameters:
            self._first[name].copy_(tensors[f"adam.first.{name}"])
            self._second[name].copy_(tensors[f"adam.second.{name}"])


def warmed_up(step: float, *, warmup_steps: int) -> float:
    """Factor on the learning rate of the first steps: 1/w, 2/w, ..., 1. `step` counts from 1, in parts if need be."""
    return min(1.0, step / warmup_steps)


def decayed(step: int, *, warmup_steps: int, total_steps: int) -> float:
    """Warm-up, then a straight line to a tenth at the last step: supervised tuning ends on small steps."""
    progress = max(0, step - warmup_steps) / max(1, total_steps - warmup_steps)
    return warmed_up(step, warmup_steps=warmup_steps) * (1 - 0.9 * progress)
