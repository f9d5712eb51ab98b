"""Sampling with vLLM: the engine's `Sampler` over a child process in vLLM's own environment.

Before every call the policy's adapter is compared with the one that vLLM has, and published as a new version if it
moved; the engine needs to announce nothing. Now and then both are asked about the same tokens.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from fettle_workers.adapters.adapter_versions import AdapterVersions
from fettle_workers.adapters.vllm_process import (
    CHILD,
    ChildLost,
    ChildMessage,
    ChildRefused,
    Completed,
    Done,
    Loaded,
    Ready,
    VllmProcess,
)
from fettle_workers.contract.events import Message
from fettle_workers.engine.batch import SamplingParams
from fettle_workers.engine.errors import JobFailed
from fettle_workers.engine.model import Policy
from fettle_workers.engine.parity import WARN_K3, Parity, measure_parity
from fettle_workers.engine.ports import EventSink, Sampler
from fettle_workers.engine.sampler import NUM_SLOTS, Completion, Request

_MIN_LENGTH = 2048  # below it a longer completion would cost a start of vLLM, and room for it costs nothing
_PROBES, _PROBE_TOKENS = 8, 32
_WITHOUT = "Fettle's own sampler needs none of this: unset FETTLE_VLLM_PYTHON to use it."


@dataclass(frozen=True)
class VllmSettings:
    """Where vLLM is, what it may take, and when it is looked at or replaced.

    Attributes:
        command: the child; its program is the `python` of the environment with vLLM.
        model: folder of the base, or id of a hub repository whose files are in the cache.
        memory_share: of the GPU's memory; on a CPU vLLM's cache has a fixed size.
        start_s, silence_s: how long it may take to start, and how long it may say nothing while it samples. Both are
            long: the first tokens wait for kernels to be compiled.
        max_growth_bytes: of the child's memory since its first call; a child that grew more is replaced between calls.
        probe_every: publishes between two comparisons of logprobs, once the first ones have passed.
    """

    command: tuple[str, ...]
    model: str
    revision: str | None
    cache: Path
    log: Path
    memory_share: float = 0.4
    threads: int = 1
    start_s: float = 1200.0
    silence_s: float = 600.0
    max_growth_bytes: int = 2 * 2**30
    probe_every: int = 20

    @classmethod
    def of(cls, python: Path, **options: Any) -> VllmSettings:
        """With Fettle's child in the environment of `python`, which sees neither this one nor its variables."""
        return cls(command=(str(python), "-I", str(CHILD)), **options)


class VllmSampler:
    """Samples from a policy by vLLM, or by `fallback` where vLLM cannot serve the policy's base.

    Which one it is shows at the first call. A child that is lost is replaced once per call, and what it had not
    finished is sampled again.
    """

    def __init__(self, policy: Policy, settings: VllmSettings, *, fallback: Sampler, events: EventSink) -> None:
        self.policy = policy
        self.settings = settings
        self.last_parity: Parity | None = None
        self.num_starts = 0
        self.rss_bytes = 0
        self._fallback = fallback
        self._events = events
        self._loaded_version = 0
        self._versions = AdapterVersions(size_bytes=4 * sum(p.numel() for p in policy.parameters().values()))
        self._published: dict[str, torch.Tensor] = {}
        self._child: VllmProcess | None = None
        self._gave_up = False
        self._has_served = False

    def close(self) -> None:
        self.end_child()
        self._versions.close()

    def sample(self, requests: Sequence[Request], params: SamplingParams) -> Iterator[Completion]:
        """Completions of all requests, each as soon as it finishes. One call at a time.

        Raises:
            JobFailed: vLLM cannot be used, was lost twice in this call, or does not sample from this policy.
            ValueError: a prompt without tokens.
        """
        if not all(request.prompt_ids for request in requests):
            raise ValueError("a prompt has no tokens; expected at least one")
        waiting = {(i, k): seed for i, request in enumerate(requests) for k, seed in enumerate(request.seeds)}
        was_lost = False
        while waiting and not self._gave_up:
            try:
                self._prepare(requests, params)
                for completion in self._run(requests, params, waiting):
                    del waiting[completion.request_index, completion.sample_index]
                    yield completion
            except ChildLost as lost:
                self.end_child()
                if was_lost:
                    raise JobFailed("internal_error", f"vLLM was lost twice in one step. {lost}. {_WITHOUT}") from lost
                was_lost = True
                self._say(f"{lost}. It is started anew; {len(waiting)} completions are sampled again.", level="warn")
            except ChildRefused as refused:
                self.end_child()
                self._refuse(refused)
        if waiting:
            yield from self._fallback.sample(requests, params)

    def reload(self) -> None:
        """Publish the adapter with the next call, changed or not, and compare logprobs then."""
        self._published = {}
        self._loaded_version = 0
        self._fallback.reload()

    def _prepare(self, requests: Sequence[Request], params: SamplingParams) -> None:
        """Have a child that is long enough, small enough, and has the policy as it is now."""
        asked = [(len(request.prompt_ids) + (request.params or params).max_new_tokens) for request in requests]
        needed = min(self.policy.context_size, max(asked))
        if self._child is not None:
            grown = self.rss_bytes - (self._rss_at_first or self.rss_bytes)
            if grown > self.settings.max_growth_bytes:
                self._say(f"vLLM's process grew by {grown / 2**30:.1f} GiB and is started anew.")
                self.end_child()
            elif needed > self._length:
                self.end_child()
        if self._child is None:
            self._start(needed)
        if not self.policy.network.adapter_off:
            self._publish(requests, params)

    def _start(self, needed: int) -> None:
        settings = self.settings
        self._length = min(self.policy.context_size, max(_MIN_LENGTH, 1 << (needed - 1).bit_length()))
        self._rss_at_first = 0
        self._loaded_version = 0
        self._num_calls = 0
        self.num_starts += 1
        self._child = VllmProcess(
            settings.command, environment=_environment(settings, self._versions.scratch), log=settings.log
        )
        _, base = next(iter(self.policy.network.base_tensors()))
        self._child.send(
            {
                "do": "start",
                "model": settings.model,
                "revision": settings.revision,
                "dtype": str(base.dtype).removeprefix("torch."),
                "device": self.policy.device.type,
                "lora_rank": self.policy.lora.rank,
                "max_length": self._length,
                "num_slots": NUM_SLOTS,
                "memory_share": settings.memory_share,
            }
        )
        self._vllm_version = self._wait_for(Ready).vllm

    def _publish(self, requests: Sequence[Request], params: SamplingParams) -> None:
        """Give vLLM the adapter as it is now, unless it has it; compare logprobs when that is due.

        Raises:
            JobFailed: vLLM does not sample from this policy, and did not either after the adapter was published again.
        """
        if not self._is_published():
            self._write()
            self._published = {name: value.detach().clone() for name, value in self.policy.parameters().items()}
        if self._loaded_version == self._versions.version:
            return
        is_new_child = self._loaded_version == 0
        self._load()
        number = self._versions.version
        if not (is_new_child or number.bit_count() == 1 or number % self.settings.probe_every == 0):
            return
        parity = self._probe(requests, params)
        if parity.is_fatal:
            self._say(f"vLLM and the trainer disagree: {parity}. The adapter is published again.", level="warn")
            self._write()
            self._load()
            parity = self._probe(requests, params)
        self._judge(parity, is_first=self.last_parity is None)

    def _is_published(self) -> bool:
        """Every tensor is compared: there is no place in the engine that could forget to say that the policy moved."""
        known = self._published
        return bool(known) and all(torch.equal(now, known[name]) for name, now in self.policy.parameters().items())

    def _write(self) -> None:
        try:
            self._versions.add(self.policy.save_adapter)
        except OSError as error:
            found = f"The adapter cannot be written to {self._versions.root} for vLLM: {error}."
            raise JobFailed("internal_error", f"{found} {_WITHOUT}") from error

    def _load(self) -> None:
        assert self._child is not None
        self._child.send({"do": "load", "version": self._versions.version, "path": str(self._versions.path)})
        self.rss_bytes = self._wait_for(Loaded).rss_bytes
        self._loaded_version = self._versions.version
        self._versions.drop_old()

    def _probe(self, requests: Sequence[Request], params: SamplingParams) -> Parity:
        """Let vLLM answer a few of the prompts at hand, and the trainer score the answers."""
        seed_of = {request.prompt_ids: request.seeds[0] for request in requests if request.seeds}
        chosen = [Request(prompt, (seed,)) for prompt, seed in list(seed_of.items())[:_PROBES]]
        temperature = params.temperature or 1.0
        short = SamplingParams(min(_PROBE_TOKENS, params.max_new_tokens), temperature, stop_ids=params.stop_ids)
        waiting = {(index, 0): request.seeds[0] for index, request in enumerate(chosen)}
        found = sorted(self._run(chosen, short, waiting), key=lambda completion: completion.request_index)
        return measure_parity(self.policy, [one.prompt_ids for one in chosen], found, temperature=temperature)

    def _judge(self, parity: Parity, *, is_first: bool) -> None:
        self.last_parity = parity
        if parity.is_fatal:
            unused = " It does not use the adapter." if parity.adapter_is_used is False else ""
            raise JobFailed(
                "internal_error",
                f"vLLM {self._vllm_version} does not sample from the policy that is trained: {parity}.{unused} "
                "Publishing the adapter again did not help, and training on such completions would be wrong. "
                + _WITHOUT,
            )
        if parity.k3 > WARN_K3:
            self._say(f"vLLM and the trainer differ more than they should: {parity}.", level="warn")
        elif is_first:
            self._say(f"Completions come from vLLM {self._vllm_version}: {parity}.")

    def _run(
        self, requests: Sequence[Request], params: SamplingParams, waiting: dict[tuple[int, int], int]
    ) -> Iterator[Completion]:
        """Completions of the (request, sample) pairs in `waiting`, each as soon as it finishes."""
        assert self._child is not None
        self._num_calls += 1
        call, left = self._num_calls, set(waiting)
        self._child.send(
            {
                "do": "sample",
                "call": call,
                "adapter_on": not self.policy.network.adapter_off,
                "requests": list(self._told(requests, params, waiting)),
            }
        )
        try:
            while True:
                message = self._child.receive(silence_s=self.settings.silence_s)
                if isinstance(message, Done):
                    break
                if isinstance(message, Completed):
                    pair = (message.request, message.sample)
                    if message.call != call or pair not in left or len(message.ids) != len(message.logprobs):
                        raise ChildLost(f"vLLM's process told a completion that nobody waits for: {pair}")
                    left.remove(pair)
                    self._has_served = True
                    yield Completion(*pair, message.ids, message.logprobs, message.finish)
        except GeneratorExit:
            self._stop_call()
            raise
        if left:
            raise ChildLost(f"vLLM's process left out {len(left)} completions")
        self.rss_bytes = message.rss_bytes
        self._rss_at_first = self._rss_at_first or message.rss_bytes

    def _told(
        self, requests: Sequence[Request], params: SamplingParams, waiting: dict[tuple[int, int], int]
    ) -> Iterator[dict[str, Any]]:
        seeds: dict[int, list[tuple[int, int]]] = {}
        for (index, sample), seed in waiting.items():
            seeds.setdefault(index, []).append((sample, seed))
        for index, of_request in seeds.items():
            own = requests[index].params or params
            yield {
                "index": index,
                "prompt_ids": requests[index].prompt_ids,
                "seeds": of_request,
                "max_new_tokens": own.max_new_tokens,
                "temperature": own.temperature,
                "top_p": own.top_p,
                "stop_ids": sorted(self.policy.chat.eos_ids if own.stop_ids is None else own.stop_ids),
            }

    def _stop_call(self) -> None:
        """The caller wants no more of the running call."""
        assert self._child is not None
        self._child.send({"do": "stop"})
        try:
            while not isinstance(self._child.receive(silence_s=self.settings.silence_s), Done):
                pass
        except (ChildLost, ChildRefused):
            self.end_child()

    def _wait_for(self, kind: type[Any]) -> Any:
        assert self._child is not None
        message: ChildMessage = self._child.receive(silence_s=self.settings.start_s)
        if not isinstance(message, kind):
            raise ChildLost(f"vLLM's process said {message.type!r} out of turn")
        return message

    def _refuse(self, refused: ChildRefused) -> None:
        """Go on without vLLM if it cannot serve this base; otherwise the operator must act."""
        if refused.why == "unservable" and not self._has_served:
            self._gave_up = True
            base = self.policy.lora.base_model_id
            self._say(f"vLLM cannot serve {base!r}, so Fettle samples by itself: {refused}", level="warn")
            return
        if refused.why == "memory":
            share = self.settings.memory_share
            advice = f"On a GPU, try another FETTLE_VLLM_MEMORY_SHARE than {share:g}. {_WITHOUT}"
            message = f"The memory is too small for vLLM beside the trainer: {refused}. {advice}"
            raise JobFailed("out_of_memory", message) from refused
        raise JobFailed("internal_error", f"vLLM cannot be used: {refused}. {_WITHOUT}") from refused

    def _say(self, message: str, *, level: Literal["info", "warn"] = "info") -> None:
        self._events.emit(Message(level=level, message=message))

    def end_child(self) -> None:
        """The next call starts another one."""
        child, self._child = self._child, None
        if child is not None:
            child.close()


def _environment(settings: VllmSettings, scratch: Path) -> dict[str, str]:
    """This process's, with vLLM kept from the network, from other folders, and from binding threads to cores."""
    return os.environ | {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process: nothing is left behind when it is killed
        "VLLM_HOST_IP": "127.0.0.1",  # its group of one process listens; nobody elsewhere shall reach that
        "GLOO_SOCKET_IFNAME": "lo",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CACHE_ROOT": str(settings.cache / "vllm"),
        "VLLM_LOGGING_LEVEL": "WARNING",
        "TORCHINDUCTOR_CACHE_DIR": str(settings.cache / "inductor"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(settings.threads),
        "TMPDIR": str(scratch),
    }
