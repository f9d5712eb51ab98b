"""From logits to tokens: one uniform number per (seed, position), and the inverse of the cumulative distribution.

A completion's randomness is a function of its own seed and of the position alone, so it does not depend on what else
is in the batch, and two policies sampled with the same seeds are compared with common random numbers.

Letters in shapes: B rows, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox(key_B: np.ndarray, counter_B: np.ndarray) -> np.ndarray:
    """Philox4x32-10, one block per element.

    Args:
        key_B: uint64, the key, or what broadcasts to the counters' shape.
        counter_B: uint64, the low half of the 128-bit counter; the high half is 0.

    Returns:
        uint64 [4, B], each a 32-bit word.

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    keys = [key_B & _LOW, key_B >> _SHIFT]
    zero = np.zeros_like(counter_B)
    words = [counter_B & _LOW, counter_B >> _SHIFT, zero, zero]
    for number in range(_ROUNDS):
        round_keys = [
            (key + np.uint64(number * weyl & 0xFFFFFFFF)) & _LOW for key, weyl in zip(keys, _WEYL, strict=True)
        ]
        first, second = words[0] * _MULTIPLIERS[0], words[2] * _MULTIPLIERS[1]
        words = [
            (second >> _SHIFT) ^ words[1] ^ round_keys[0],
            second & _LOW,
            (first >> _SHIFT) ^ words[3] ^ round_keys[1],
            first & _LOW,
        ]
    return np.stack(words)


def uniforms(seeds_B: np.ndarray, positions_B: np.ndarray) -> np.ndarray:
    """float64 [B] in [0, 1) with 53 random bits; seeds and positions are uint64."""
    words = philox(seeds_B, positions_B)
    bits = (words[0] << np.uint64(21)) ^ (words[1] >> np.uint64(11))
    numbers: np.ndarray = bits.astype(np.float64) * 2.0**-53
    return numbers


def process(logits_BV: Tensor, temperature_B: Tensor, top_p_B: Tensor | None) -> Tensor:
    """Logprobs of the distribution that is sampled from, fp32 [B, V].

    Rows of temperature 0 keep the model's own distribution: their token is its arg-max, and its logprob is the model's.
    `top_p_B` None means that no row cuts its tail; a cut token has logprob -inf.
    """
    divisor_B1 = torch.where(temperature_B > 0, temperature_B, 1.0)[:, None]
    logprobs_BV = torch.log_softmax(logits_BV / divisor_B1, dim=-1)
    return logprobs_BV if top_p_B is None else _keep_nucleus(logprobs_BV, top_p_B)


def _keep_nucleus(logprobs_BV: Tensor, top_p_B: Tensor) -> Tensor:
    """Keep the fewest most likely tokens whose probabilities reach top_p, and renormalise."""
    ordered_BV, order_BV = logprobs_BV.sort(dim=-1, descending=True, stable=True)
    mass_BV = ordered_BV.double().exp()
    before_BV = mass_BV.cumsum(-1) - mass_BV
    cut_BV = torch.zeros_like(before_BV, dtype=torch.bool).scatter(1, order_BV, before_BV >= top_p_B[:, None])
    cut_BV.scatter_(1, order_BV[:, :1], False)
    return torch.log_softmax(logprobs_BV.masked_fill(cut_BV, -torch.inf), dim=-1)


def draw(logprobs_BV: Tensor, uniforms_B: Tensor) -> Tensor:
    """The token at which the cumulative probability passes the uniform number; a token of probability 0 never is it."""
    cumulative_BV = logprobs_BV.double().exp_().cumsum(-1)
    total_B1 = cumulative_BV[:, -1:].contiguous()
    found_B1 = torch.searchsorted(cumulative_BV, uniforms_B[:, None] * total_B1, right=True)
    last_B1 = torch.searchsorted(cumulative_BV, total_B1)  # rounding may carry u * total up to total itself
    return torch.minimum(found_B1, last_B1)[:, 0]
