"""Sequences without padding: every prompt once, the continuations that share it after it, all in one row of tokens.

Linear layers and norms see the packed tokens as they are. Only attention needs rows; it takes those of about equal
length together, so that little is wasted.

Letters in shapes: T packed tokens, B rows of a bucket, L their queries, S their keys, N loss tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fettle_workers.engine.native.budget import Budget
from fettle_workers.engine.sequences import Microbatch, TokenSequence

_SHORT = 16  # tokens; rows up to here share a bucket
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Bucket:
    """Rows that attend together, by their packed tokens; index 0 stands where a row has ended.

    Attributes:
        hidden_BLS: True where a query must not look; [1, L, S] when equal for all rows, None for plain causal rows.
        cells_R, tokens_R: of the R queries that are no padding, the cell in the flattened [B, L] and the packed token.
    """

    queries_BL: Tensor
    keys_BS: Tensor
    hidden_BLS: Tensor | None
    cells_R: Tensor
    tokens_R: Tensor


@dataclass(frozen=True)
class Packed:
    """`ids_T` at `positions_T` of their sequences. Every token is a query in exactly one bucket.

    `predicts_N` is the packed token that predicts each loss token, or whatever else is wanted of the last layer. With
    `recomputes`, blocks keep only their input for the backward pass.
    """

    ids_T: Tensor
    positions_T: Tensor
    buckets: tuple[Bucket, ...]
    predicts_N: Tensor
    recomputes: bool = False


@dataclass
class _Rows:
    """Prompts, and continuations `(prompt, ids)`; both are lists of distinct rows."""

    prompts: list[tuple[int, ...]]
    continuations: list[tuple[int, tuple[int, ...]]]


def packed_microbatches(
    sequences: Sequence[TokenSequence], *, budget: Budget, device: torch.device
) -> Iterator[Microbatch]:
    """Cut sequences into microbatches of at most `budget.max_tokens` packed tokens, or of one longer sequence.

    Sequences of one prompt stay next to each other; where a group does not fit, its prompt is read again.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, sequence in enumerate(sequences):
        groups.setdefault(_prompt(sequence), []).append(number)
    members: list[int] = []
    room = budget.max_tokens
    for prompt, numbers in groups.items():
        room -= len(prompt)
        for number in numbers:
            size = len(sequences[number].ids) - len(prompt)
            if members and size > room:
                yield _microbatch(sequences, members, budget, device)
                members, room = [], budget.max_tokens - len(prompt)
            members.append(number)
            room -= size
    if members:
        yield _microbatch(sequences, members, budget, device)


def _microbatch(
    sequences: Sequence[TokenSequence], members: Sequence[int], budget: Budget, device: torch.device
) -> Microbatch:
    chosen = [sequences[number] for number in members]
    packed = replace(pack(chosen, device), recomputes=budget.recomputes)
    targets = [token for one in chosen for token, wanted in zip(one.ids[1:], one.in_loss[1:], strict=True) if wanted]
    counts = torch.tensor([sum(one.in_loss[1:]) for one in chosen])
    numbers = torch.arange(len(chosen)).repeat_interleave(counts)
    return Microbatch(tuple(members), torch.tensor(targets, device=device), numbers.to(device), packed)


def pack(sequences: Sequence[TokenSequence], device: torch.device) -> Packed:
    """Equal prompts are read once, and so is a continuation that another one begins with.

    A prompt is everything before the first loss token. Tokens after the last but one loss token predict nothing and are
    left out.
    """
    prompts = list(dict.fromkeys(_prompt(sequence) for sequence in sequences))
    number = {prompt: index for index, prompt in enumerate(prompts)}
    wanted = [(number[_prompt(sequence)], _continuation(sequence)) for sequence in sequences]
    kept, row_of = _longest(wanted)
    rows = _Rows(prompts, kept)
    prompt_starts, starts, total = _starts(rows)
    predicts = []
    for sequence, row in zip(sequences, wanted, strict=True):
        prompt, size = row[0], len(prompts[row[0]])
        loss = np.flatnonzero(sequence.in_loss[1:])  # the token before each loss token
        first = starts[row_of[row]] - size
        predicts.append(np.where(loss < size, prompt_starts[prompt] + loss, first + loss))
    return _laid_out(rows, prompt_starts, starts, total, np.concatenate(predicts), device)


def pack_rows(ids_BL: Tensor, mask_BL: Tensor) -> Packed:
    """Padded rows, each a prompt by itself; `predicts_N` are their last tokens. Padding may stand anywhere."""
    rows = _Rows([tuple(ids[mask].tolist()) for ids, mask in zip(ids_BL, mask_BL.bool(), strict=True)], [])
    starts, none, total = _starts(rows)
    last = starts + np.array([len(prompt) for prompt in rows.prompts]) - 1
    return _laid_out(rows, starts, none, total, last, ids_BL.device)


def _prompt(sequence: TokenSequence) -> tuple[int, ...]:
    first = sequence.in_loss.index(True, 1) if any(sequence.in_loss[1:]) else len(sequence.ids)
    return sequence.ids[:first]


def _continuation(sequence: TokenSequence) -> tuple[int, ...]:
    first = len(_prompt(sequence))
    last = max((index for index, wanted in enumerate(sequence.in_loss) if wanted), default=0)
    return sequence.ids[first:last]


def _longest(
    wanted: Sequence[tuple[int, tuple[int, ...]]],
) -> tuple[list[tuple[int, tuple[int, ...]]], dict[tuple[int, tuple[int, ...]], int]]:
    """Continuations that no other one begins with, and for every one the kept one that holds it.

    In order, whatever begins with a row follows it at once, so one look at the neighbour is enough.
    """
    ordered = sorted(set(wanted))
    kept: list[tuple[int, tuple[int, ...]]] = []
    row_of: dict[tuple[int, tuple[int, ...]], int] = {}
    for row in reversed(ordered):
        longer = kept[-1] if kept else None
        if longer is None or longer[0] != row[0] or longer[1][: len(row[1])] != row[1]:
            kept.append(row)
        row_of[row] = len(kept) - 1
    return kept, row_of


def _starts(rows: _Rows) -> tuple[Indices, Indices, int]:
    """Where each prompt and each continuation begins in the pack, and its size: first all prompts, then the rest."""
    sizes = [*map(len, rows.prompts), *(len(ids) for _, ids in rows.continuations)]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return starts[: len(rows.prompts)], starts[len(rows.prompts) : -1], int(starts[-1])


def _laid_out(
    rows: _Rows, prompt_starts: Indices, starts: Indices, total: int, predicts: Indices, device: torch.device
) -> Packed:
    lengths = np.array([len(prompt) for prompt in rows.prompts])
    parents = np.array([prompt for prompt, _ in rows.continuations], dtype=np.int64)
    sizes = np.array([len(ids) for _, ids in rows.continuations], dtype=np.int64)
    ids, positions = np.empty(total, np.int64), np.empty(total, np.int64)
    for start, prompt in zip(prompt_starts, rows.prompts, strict=True):
        ids[start : start + len(prompt)] = prompt
        positions[start : start + len(prompt)] = np.arange(len(prompt))
    for start, (prompt, continuation) in zip(starts, rows.continuations, strict=True):
        ids[start : start + len(continuation)] = continuation
        positions[start : start + len(continuation)] = lengths[prompt] + np.arange(len(continuation))
    buckets = [_prompt_bucket(prompt_starts[those], lengths[those], device) for those in _alike(lengths)]
    for those in _alike(sizes, lengths[parents]):
        of = parents[those]
        buckets.append(_bucket(prompt_starts[of], lengths[of], starts[those], sizes[those], device))
    tensors = (torch.from_numpy(array).to(device) for array in (ids, positions))
    return Packed(*tensors, tuple(buckets), torch.from_numpy(predicts).to(device))


def _alike(*lengths: Indices) -> Iterator[Indices]:
    """Rows whose lengths, rounded up to powers of two, are equal; rows without tokens are left out."""
    rounded = np.stack([2 ** np.ceil(np.log2(np.maximum(length, _SHORT))) for length in lengths])
    for kind in np.unique(rounded, axis=1).T:
        those = np.flatnonzero((rounded == kind[:, None]).all(0) & (lengths[0] > 0))
        if len(those):
            yield those


def _cells(starts: Indices, sizes: Indices) -> Indices:
    """[B, longest] packed tokens of rows that begin at `starts`; 0 behind their ends."""
    offsets = np.arange(sizes.max())
    return np.where(offsets < sizes[:, None], starts[:, None] + offsets, 0)


def _prompt_bucket(starts: Indices, sizes: Indices, device: torch.device) -> Bucket:
    cells = _cells(starts, sizes)
    return _made(cells, cells, None, sizes, device)


def _bucket(
    prompt_starts: Indices, prompt_sizes: Indices, starts: Indices, sizes: Indices, device: torch.device
) -> Bucket:
    """Continuations that see all of their prompt, and of themselves what is not ahead."""
    queries, prompts = _cells(starts, sizes), _cells(prompt_starts, prompt_sizes)
    num_queries, num_prompt = queries.shape[1], prompts.shape[1]
    steps = np.arange(num_queries)
    ahead = np.broadcast_to(steps > steps[:, None], (len(starts), num_queries, num_queries))
    beyond = np.broadcast_to(
        (np.arange(num_prompt) >= prompt_sizes[:, None])[:, None], (len(starts), num_queries, num_prompt)
    )
    if (prompt_sizes == num_prompt).all():
        ahead, beyond = ahead[:1], beyond[:1]
    hidden = np.concatenate([beyond, ahead], -1)
    return _made(queries, np.concatenate([prompts, queries], 1), hidden, sizes, device)


def _made(
    queries: Indices, keys: Indices, hidden: NDArray[np.bool_] | None, sizes: Indices, device: torch.device
) -> Bucket:
    real = np.flatnonzero(np.arange(queries.shape[1]) < sizes[:, None])
    arrays = (queries, keys, real, queries.reshape(-1)[real])
    queries_BL, keys_BS, cells_R, tokens_R = (torch.from_numpy(array).to(device) for array in arrays)
    hidden_BLS = None if hidden is None else torch.from_numpy(hidden).to(device)
    return Bucket(queries_BL, keys_BS, hidden_BLS, cells_R, tokens_R)
