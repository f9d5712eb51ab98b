"""Reading a prompt once for all completions of its group, in the training forward pass too.

Letters in shapes: P distinct prompts, T prompt tokens (padded left), B rows, C completion tokens (padded right), N loss
tokens row by row, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

# Sharing costs an attention mask and a copy of keys and values: not worth it for a few tokens.
_MIN_SAVED_SHARE = 0.25


@dataclass(frozen=True)
class SharedPrompts:
    """Prompts and completions apart. `prompt_B` is the number of each row's prompt; `loss_BC` marks the completions."""

    prompts_PT: Tensor
    prompt_mask_PT: Tensor
    prompt_B: Tensor
    completions_BC: Tensor
    loss_BC: Tensor


def share_prompts(
    sequences: Sequence[tuple[tuple[int, ...], tuple[bool, ...]]], device: torch.device
) -> SharedPrompts | None:
    """Take prompts and completions apart, where that saves enough; None otherwise.

    Args:
        sequences: ids and which of them are in the loss. Every sequence must be a prompt outside the loss and then a
            completion inside it.
    """
    parts = [_cut(ids, in_loss) for ids, in_loss in sequences]
    if any(part is None for part in parts):
        return None
    cut = [part for part in parts if part is not None]
    prompts = list(dict.fromkeys(prompt for prompt, _ in cut))
    width = max(map(len, prompts))
    length = max(len(completion) for _, completion in cut)
    padded = len(cut) * max(len(ids) for ids, _ in sequences)
    if padded - len(prompts) * width - len(cut) * length < _MIN_SAVED_SHARE * padded:
        return None
    number = {prompt: index for index, prompt in enumerate(prompts)}
    prompts_PT = torch.zeros(len(prompts), width, dtype=torch.long)
    prompt_mask_PT = torch.zeros_like(prompts_PT)
    for index, prompt in enumerate(prompts):
        prompts_PT[index, width - len(prompt) :] = torch.tensor(prompt)
        prompt_mask_PT[index, width - len(prompt) :] = 1
    completions_BC = torch.zeros(len(cut), length, dtype=torch.long)
    loss_BC = torch.zeros(len(cut), length, dtype=torch.bool)
    for row, (_, completion) in enumerate(cut):
        completions_BC[row, : len(completion)] = torch.tensor(completion)
        loss_BC[row, : len(completion)] = True
    prompt_B = torch.tensor([number[prompt] for prompt, _ in cut])
    return SharedPrompts(*(t.to(device) for t in (prompts_PT, prompt_mask_PT, prompt_B, completions_BC, loss_BC)))


def _cut(ids: tuple[int, ...], in_loss: tuple[bool, ...]) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    size = len(in_loss) - sum(in_loss)
    is_completion = 0 < size < len(ids) and not any(in_loss[:size])
    return (ids[:size], ids[size:]) if is_completion else None


def shared_hidden(base: PreTrainedModel, shared: SharedPrompts) -> Tensor:
    """Hidden states [N, H] that predict the completion tokens, differentiable through the prompts.

    The gradient with respect to a prompt's keys and values is the sum over its completions.
    """
    trunk = base.base_model
    is_padded = not bool(shared.prompt_mask_PT.all())
    cache = DynamicCache(config=base.config)
    masks = {"attention_mask": shared.prompt_mask_PT} if is_padded else {}
    lengths_P = shared.prompt_mask_PT.sum(1)
    positions_PT = (shared.prompt_mask_PT.cumsum(1) - 1).clamp_min(0)
    read = trunk(
        input_ids=shared.prompts_PT, position_ids=positions_PT, past_key_values=cache, use_cache=True, **masks
    ).last_hidden_state
    first_B1H = read[:, -1][shared.prompt_B][:, None]
    num_read = shared.completions_BC.shape[1] - 1  # nothing is predicted from the last token
    if num_read == 0:
        return first_B1H[shared.loss_BC]
    cache.batch_select_indices(shared.prompt_B)
    if is_padded:
        ones_BC = shared.prompt_mask_PT.new_ones(len(shared.prompt_B), num_read)
        masks = {"attention_mask": torch.cat([shared.prompt_mask_PT[shared.prompt_B], ones_BC], dim=1)}
    positions_BC = lengths_P[shared.prompt_B][:, None] + torch.arange(num_read, device=base.device)
    rest_BCH = trunk(
        input_ids=shared.completions_BC[:, :-1],
        position_ids=positions_BC,
        past_key_values=cache,
        use_cache=True,
        **masks,
    ).last_hidden_state
    return torch.cat([first_B1H, rest_BCH], dim=1)[shared.loss_BC]
