"""Fettle's own sampler and vLLM on the bundled model: the same policy, requests and logprobs, on this machine's CPU.

    make vllm && python benchmarks/vllm_beside_own.py --vllm-python .venv/vllm/bin/python

What each figure means: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from machine import describe, exit_on_sigterm, footer, spread, table

from fettle_workers.adapters.vllm_sampler import VllmSampler, VllmSettings
from fettle_workers.contract.events import Event, Message
from fettle_workers.engine.model import Policy, load_policy, use_threads
from fettle_workers.engine.ports import Sampler
from fettle_workers.engine.sampler import Request, SamplingParams, TorchSampler

MODEL = Path(__file__).resolve().parents[1] / "workers" / "fettle_workers" / "base_models" / "fettle-tiny"
GROUP, NEW_TOKENS = 8, 64
PARAMS = SamplingParams(NEW_TOKENS, stop_ids=frozenset())


class Print:
    def emit(self, event: Event) -> None:
        if isinstance(event, Message):
            print(event.message)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vllm-python", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    exit_on_sigterm()
    use_threads(1)
    machine = describe()
    policy = load_policy(MODEL, base_model_id="fettle-tiny")
    rows = [rates("own", TorchSampler(policy), policy, options.repeats)]
    with tempfile.TemporaryDirectory() as work:
        settings = VllmSettings.of(
            options.vllm_python, model=str(MODEL), revision=None, cache=Path(work), log=Path(work) / "vllm.log"
        )
        vllm = VllmSampler(policy, settings, fallback=TorchSampler(policy), events=Print())
        try:
            starts = [until_first_answer(vllm) for _ in range(2)]
            rows.append(rates("vLLM", vllm, policy, options.repeats))
            published = [publish(vllm, policy) for _ in range(20)]
        finally:
            vllm.close()
    print(table(["sampler", "64 at once, tokens/s", "128 at once", "256 at once"], rows))
    print(f"\nvLLM's first answer after {starts[0]:.0f} s, and after {starts[1]:.0f} s with its kernels in the cache.")
    print(f"A new adapter and one token of one prompt: {spread([1000 * seconds for seconds in published], 0)} ms.")
    print(f"{footer(machine)} torch {torch.__version__}.")


def rates(name: str, sampler: Sampler, policy: Policy, repeats: int) -> list[str]:
    """Tokens per second at three numbers of completions, eight of each prompt, every one of 64 tokens."""
    columns = [name]
    for num_prompts in (8, 16, 32):
        texts = [f"Find the maximum of {number}, {97 - number}, {3 * number % 89}." for number in range(num_prompts)]
        requests = [
            Request(tuple(policy.tokenizer(text)["input_ids"]), tuple(range(GROUP * i, GROUP * (i + 1))))
            for i, text in enumerate(texts)
        ]
        list(sampler.sample(requests, PARAMS))
        found = []
        for _ in range(repeats):
            start = time.perf_counter()
            num_tokens = sum(len(one.ids) for one in sampler.sample(requests, PARAMS))
            found.append(num_tokens / (time.perf_counter() - start))
        columns.append(spread(found, 0))
    return columns


def until_first_answer(vllm: VllmSampler) -> float:
    vllm.end_child()
    start = time.perf_counter()
    list(vllm.sample([Request((5, 6, 7), (1,))], SamplingParams(1)))
    return time.perf_counter() - start


def publish(vllm: VllmSampler, policy: Policy) -> float:
    policy.set_adapter_tensors({name: tensor + 1e-6 for name, tensor in policy.adapter_tensors().items()})
    start = time.perf_counter()
    list(vllm.sample([Request((5, 6, 7), (1,))], SamplingParams(1)))
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
