"""Gradients over microbatches and AdamW on the adapter."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fettle_workers.engine.logprob import Microbatch, TokenScores, TokenSequence, microbatches, score_tokens
from fettle_workers.engine.loss import Loss
from fettle_workers.engine.model import Policy
from fettle_workers.engine.processes import Processes

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


@dataclass(frozen=True)
class _Sums:
    """What one process found in its share of the sequences."""

    total: float
    num_tokens: int
    sums: dict[str, float]


class Learner:
    """The adapter's optimizer. Its whole state is two moments per tensor and a count.

    With several processes, each computes its share of a step's sequences, and all end with the gradient over the whole
    step: equal weights stay equal.
    """

    def __init__(self, policy: Policy, processes: Processes | None = None) -> None:
        self.policy, self.processes = policy, processes or Processes()
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
        parts = self.processes.gather(
            lambda: self._accumulate_share(sequences, loss, temperature=temperature, entropy_grad=entropy_grad)
        )
        if self.processes.size > 1:
            for parameter in self._parameters.values():
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            self.processes.add([p.grad for p in self._parameters.values() if p.grad is not None])
        total, num_tokens = sum(part.total for part in parts), sum(part.num_tokens for part in parts)
        names = dict.fromkeys(name for part in parts for name in part.sums)
        sums = {name: sum(part.sums.get(name, 0.0) for part in parts) for name in names}
        norm = self.processes.agree(lambda: self._scale_gradients(num_tokens))
        return Gradients(total / max(1, num_tokens), num_tokens, norm, sums)

    def _accumulate_share(
        self, sequences: Sequence[TokenSequence], loss: LossFunction, *, temperature: float, entropy_grad: bool
    ) -> _Sums:
        """The gradient of the summed loss of this process's share."""
        for parameter in self._parameters.values():
            parameter.grad = None
        share = self.processes.share([len(sequence.ids) for sequence in sequences])
        total, num_tokens, sums = 0.0, 0, dict[str, float]()
        for part in microbatches(self.policy, sequences[share]):
            batch = replace(part, members=tuple(share.start + member for member in part.members))
            scores = score_tokens(self.policy, batch, temperature=temperature, entropy_grad=entropy_grad)
            found = loss(batch, scores)
            found.total.backward()
            total += float(found.total.detach())
            num_tokens += int(found.num_tokens)
            for name, value in (*found.sums.items(), ("entropy", scores.entropy_N.detach().sum())):
                sums[name] = sums.get(name, 0.0) + float(value)
        return _Sums(total, num_tokens, sums)

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
