"""Do sampler and trainer agree about the same tokens? A sampler in another process may be numerically off, hold an old
adapter, or have none on at all; its completions look as good then, and training on them goes nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fettle_workers.engine.logprob import reference_logprobs, sequence_logprobs
from fettle_workers.engine.model import Policy
from fettle_workers.engine.sampler import Completion
from fettle_workers.engine.sequences import TokenSequence

# Of k3, in nats per token. Below the first, others were seen to train well; the second is where verl raises its alarm.
WARN_K3, FAIL_K3 = 0.01, 0.1
_CLEARLY = 3.0


@dataclass(frozen=True)
class Parity:
    """Sampler against trainer on tokens that the sampler drew.

    Attributes:
        mean_difference: mean |trainer - sampler| of the logprobs, in nats.
        k3: mean of exp(d) - 1 - d with d = trainer - sampler: KL(sampler || trainer) per token.
        difference_to_base: mean |base - sampler|: what `mean_difference` would be without the adapter in the trainer.
    """

    num_tokens: int
    mean_difference: float
    k3: float
    difference_to_base: float

    @property
    def adapter_is_used(self) -> bool | None:
        """Whether the sampler speaks for the adapted policy, not for its base; None: they are too alike to tell."""
        if self.difference_to_base > _CLEARLY * self.mean_difference:
            return True
        return False if self.mean_difference > _CLEARLY * self.difference_to_base else None

    @property
    def is_fatal(self) -> bool:
        """Training on such completions would be wrong."""
        return not self.k3 <= FAIL_K3 or self.adapter_is_used is False  # NaN is not

    def __str__(self) -> str:
        return (
            f"on {self.num_tokens} sampled tokens its logprobs differ from the trainer's by "
            f"{self.mean_difference:.2g} on average (k3 {self.k3:.2g} nats per token), and from those of the base "
            f"without adapter by {self.difference_to_base:.2g}"
        )


def measure_parity(
    policy: Policy, prompts: Sequence[Sequence[int]], completions: Sequence[Completion], *, temperature: float
) -> Parity:
    """Score `completions`, one of each prompt, drawn at `temperature` with no cut of the distribution.

    Raises:
        ValueError: there is no token to compare.
    """
    sequences = [
        TokenSequence.completion(prompt, completion.ids)
        for prompt, completion in zip(prompts, completions, strict=True)
    ]
    sampled_N = torch.tensor([logprob for one in completions for logprob in one.logprobs], dtype=torch.float64)
    if not len(sampled_N):
        raise ValueError("no tokens: expected at least one")
    trainer_N = torch.cat(sequence_logprobs(policy, sequences, temperature=temperature)).double()
    base_N = torch.cat(reference_logprobs(policy, sequences, temperature=temperature)).double()
    difference_N = trainer_N - sampled_N
    k3 = float((difference_N.exp() - 1 - difference_N).mean())
    return Parity(
        num_tokens=len(sampled_N),
        mean_difference=float(difference_N.abs().mean()),
        k3=k3 if math.isfinite(k3) else math.nan,
        difference_to_base=float((base_N - sampled_N).abs().mean()),
    )
