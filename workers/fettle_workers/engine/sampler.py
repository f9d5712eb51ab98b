"""Sampling with torch: one decode loop for training, evaluation and serving. Token ids in, token ids out.

`Decoder` holds a batch of running completions: `admit` adds some, `step` gives each one token. `TorchSampler.sample`
runs it to the end for many prompts; the model server runs it with requests that come and go.

Letters in shapes: B running rows, V vocabulary, P prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fettle_workers.engine.batch import Batch, Row, SamplingParams, fresh_batch, joined, selected
from fettle_workers.engine.draw import draw, process
from fettle_workers.engine.model import Policy

FinishReason = Literal["stop", "length"]
NUM_SLOTS = 256
_PREFILL_TOKENS = 16_384  # padded tokens of one prompt pass


@dataclass(frozen=True)
class Request:
    """One completion per seed; the prompt is read once for all of them. `params` overrides the call's."""

    prompt_ids: tuple[int, ...]
    seeds: tuple[int, ...]
    params: SamplingParams | None = None


@dataclass(frozen=True)
class Completion:
    """`logprobs` are those of the distribution sampled from (temperature and top_p applied), one per id.

    At temperature 0 they are the model's own.
    """

    request_index: int
    sample_index: int
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason


@dataclass(frozen=True)
class Step:
    """What one step made. All sequences are parallel to `rows`; `logits_BV` are the model's, before any processing."""

    rows: list[Row]
    ids: list[int]
    logprobs: list[float]
    finish_reasons: list[FinishReason | None]
    logits_BV: Tensor


class Decoder:
    """A batch of running completions of one policy.

    The adapter is read when the decoder is built if the model is small (its weights are then merged with a copy of
    the base's), and at every step otherwise: build a decoder per adapter version.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._device = policy.device
        self._reader = policy.network.reader()
        self._batch: Batch | None = None

    @property
    def num_running(self) -> int:
        return 0 if self._batch is None else int(self._batch.alive.sum())

    @torch.inference_mode()
    def admit(self, rows: Sequence[Row]) -> None:
        """Read the prompts of new rows, equal ones once, and add the rows to the batch."""
        for chunk in self._prefill_chunks(rows):
            fresh = self._prefill(chunk)
            self._batch = fresh if self._batch is None else joined(self._batch, fresh)

    @torch.inference_mode()
    def step(self) -> Step:
        """Draw one token for every running row and read it. Rows that finish leave the batch."""
        batch = self._batch
        assert batch is not None, "no rows: call admit first"
        logits_BV = batch.logits_BV
        ids_B, logprobs_B = _draw_tokens(batch)
        batch.num_made_B += 1
        stopped_B = (ids_B[:, None] == batch.stop_ids_BS).any(1)
        finished_B = stopped_B | (batch.num_made_B >= batch.max_new_B)
        state = torch.stack([ids_B, stopped_B.long(), finished_B.long()]).cpu().numpy()
        made = batch.alive.copy()
        result = _step_of(batch, state, logprobs_B, logits_BV, made)
        batch.alive &= state[2] == 0
        self._compact(ids_B)
        return result

    def drop(self, rows: Iterable[Row]) -> None:
        """Take rows out of the batch without finishing them; rows that are no longer in it are ignored."""
        gone = set(map(id, rows))
        if self._batch is not None and gone:
            self._batch.alive &= np.array([id(row) not in gone for row in self._batch.rows])
            if not self._batch.alive.any():
                self._batch = None

    def _compact(self, ids_B: Tensor) -> None:
        """Drop the finished rows when they are many or all, then read the drawn tokens of the others.

        Taking rows out copies the cache, which costs about a step of a small model, so a few dead rows are carried.
        """
        batch = self._batch
        num_alive = int(batch.alive.sum())
        if num_alive == 0:
            self._batch = None
            return
        if num_alive <= 0.875 * len(batch.rows):
            kept = torch.as_tensor(np.flatnonzero(batch.alive), device=self._device)
            ids_B = ids_B[kept]
            batch = self._batch = selected(batch, kept)
        batch.logits_BV = self._read(batch, ids_B)

    def _read(self, batch: Batch, ids_B: Tensor) -> Tensor:
        """Logits after one more token per row, [B, V] fp32."""
        logits_BV = self._reader.read(batch.memory, ids_B, batch.position_B, batch.first_column_B, batch.num_columns)
        batch.num_columns += 1
        # A finished row that is still carried stays where it is: learned positions have an end.
        batch.position_B += torch.as_tensor(batch.alive, device=self._device)
        return logits_BV

    def _prefill_chunks(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Cut rows into passes of bounded size; of equal prompt length when padding would change the state."""
        ordered = sorted(rows, key=lambda row: (len(row.prompt_ids), row.prompt_ids)) if rows else []
        chunk: list[Row] = []
        prompts: set[tuple[int, ...]] = set()
        for row in ordered:
            size = len(row.prompt_ids)
            if size == 0:
                raise ValueError("a prompt has no tokens; expected at least one")
            too_large = (len(prompts | {row.prompt_ids})) * size > _PREFILL_TOKENS
            unequal = not self._reader.pads_prompts and chunk and size != len(chunk[0].prompt_ids)
            if chunk and (too_large or unequal):
                yield chunk
                chunk, prompts = [], set()
            chunk.append(row)
            prompts.add(row.prompt_ids)
        if chunk:
            yield chunk

    def _prefill(self, rows: list[Row]) -> Batch:
        prompts = list(dict.fromkeys(row.prompt_ids for row in rows))
        longest = max(map(len, prompts))
        ids = np.zeros((len(prompts), longest), np.int64)
        for index, prompt in enumerate(prompts):
            ids[index, longest - len(prompt) :] = prompt
        first_column_P = torch.tensor([longest - len(prompt) for prompt in prompts], device=self._device)
        room = max(row.params.max_new_tokens for row in rows)
        ids_PL = torch.as_tensor(ids, device=self._device)
        memory, logits_PV = self._reader.read_prompts(ids_PL, first_column_P, room=room)
        where = {prompt: index for index, prompt in enumerate(prompts)}
        of_row = torch.tensor([where[row.prompt_ids] for row in rows], device=self._device)
        if len(rows) > len(prompts):
            memory.select(of_row)
        return fresh_batch(
            rows, memory, logits_PV[of_row], first_column_P[of_row], longest, self.policy.chat.eos_ids, self._device
        )


class TorchSampler:
    """Samples from a policy in this process. At most `num_slots` completions run at once; finished ones make room.

    `before_step` is called before every token; what it raises ends the sampling.
    """

    def __init__(
        self, policy: Policy, *, num_slots: int = NUM_SLOTS, before_step: Callable[[], None] = lambda: None
    ) -> None:
        self.policy = policy
        self.num_slots = num_slots
        self._before_step = before_step

    def reload(self) -> None:
        """Nothing is held between calls."""

    def sample(self, requests: Sequence[Request], params: SamplingParams) -> Iterator[Completion]:
        """Completions of all requests, each as soon as it finishes.

        The iterator samples while it is iterated. The adapter must not change, nor be turned on or off, before its end.
        """
        waiting = [
            (Row(request.prompt_ids, seed, request.params or params), request_index, sample_index)
            for request_index, request in enumerate(requests)
            for sample_index, seed in enumerate(request.seeds)
        ]
        waiting.reverse()
        if not waiting:
            return
        decoder = Decoder(self.policy)
        running: dict[int, _Running] = {}
        while waiting or running:
            self._before_step()
            room = self.num_slots - len(running)
            # Reading prompts interrupts everybody, so wait until a good part of the slots is free.
            if waiting and room >= min(len(waiting), max(1, self.num_slots // 4)):
                admitted = [waiting.pop() for _ in range(min(room, len(waiting)))]
                running |= {id(row): _Running(row, request, sample) for row, request, sample in admitted}
                decoder.admit([row for row, _, _ in admitted])
            yield from _collect(decoder.step(), running)


@dataclass
class _Running:
    row: Row
    request_index: int
    sample_index: int
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


def _collect(step: Step, running: dict[int, _Running]) -> Iterator[Completion]:
    for row, token, logprob, reason in zip(step.rows, step.ids, step.logprobs, step.finish_reasons, strict=True):
        entry = running[id(row)]
        entry.ids.append(token)
        entry.logprobs.append(logprob)
        if reason is not None:
            del running[id(row)]
            yield Completion(entry.request_index, entry.sample_index, tuple(entry.ids), tuple(entry.logprobs), reason)


def _step_of(batch: Batch, state: np.ndarray, logprobs_B: Tensor, logits_BV: Tensor, made: np.ndarray) -> Step:
    ids, stopped, finished = state.tolist()
    logprobs = logprobs_B.tolist()
    reasons: list[FinishReason | None] = [
        ("stop" if stop else "length") if end else None for stop, end in zip(stopped, finished, strict=True)
    ]
    if made.all():
        return Step(list(batch.rows), ids, logprobs, reasons, logits_BV)
    keep = np.flatnonzero(made).tolist()
    return Step(
        rows=[batch.rows[i] for i in keep],
        ids=[ids[i] for i in keep],
        logprobs=[logprobs[i] for i in keep],
        finish_reasons=[reasons[i] for i in keep],
        logits_BV=logits_BV[keep],
    )


def _draw_tokens(batch: Batch) -> tuple[Tensor, Tensor]:
    """Ids and logprobs [B] of the next tokens."""
    logits_BV = batch.logits_BV
    if batch.has_edits:
        edited = [
            row.edit(logits) if row.edit and alive else logits
            for row, logits, alive in zip(batch.rows, logits_BV, batch.alive, strict=True)
        ]
        logits_BV = torch.stack(edited)
    logprobs_BV = process(logits_BV, batch.temperature_B, batch.top_p_B if batch.cuts_tails else None)
    ids_B = draw(logprobs_BV, batch.next_uniforms())
    if batch.has_greedy:
        ids_B = torch.where(batch.temperature_B == 0, logits_BV.argmax(-1), ids_B)
    return ids_B, logprobs_BV.gather(1, ids_B[:, None])[:, 0]
