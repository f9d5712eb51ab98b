"""Fettle's own sampler and vLLM: the same policies, requests and logprobs, on this machine's CPU.

    make vllm && python benchmarks/vllm_beside_own.py --vllm-python .venv/vllm/bin/python

What each figure means: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import torch
from machine import describe, exit_on_sigterm, footer, spread, table
from transformers import AutoConfig, AutoModelForCausalLM

from fettle_workers.adapters.vllm_sampler import VllmSampler, VllmSettings
from fettle_workers.contract.events import Event, Message
from fettle_workers.engine.model import Policy, load_policy, use_threads
from fettle_workers.engine.ports import Sampler
from fettle_workers.engine.sampler import Request, SamplingParams, TorchSampler

MODEL = Path(__file__).resolve().parents[1] / "workers" / "fettle_workers" / "base_models" / "fettle-tiny"
LARGER = {
    "hidden_size": 256,
    "intermediate_size": 960,
    "num_hidden_layers": 6,
    "layer_types": ["full_attention"] * 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
}
GROUP = 8


@dataclass(frozen=True)
class Shape:
    name: str
    num_prompts: int
    prompt_tokens: int
    new_tokens: tuple[int, ...]  # taken in turn by the prompts


SHAPES = (
    Shape("64 at once", 8, 20, (64,)),
    Shape("256 at once", 32, 20, (64,)),
    Shape("256 of 8 to 128 tokens", 32, 20, (8, 16, 32, 128)),
    Shape("64 after prompts of 400", 8, 400, (64,)),
)


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
    header = ["parameters", "sampler", *(f"{shape.name}, tokens/s" for shape in SHAPES)]
    with tempfile.TemporaryDirectory() as work:
        for folder in (MODEL, larger_model(Path(work) / "model")):
            policy = load_policy(folder, base_model_id=folder.name)
            size = f"{sum(tensor.numel() for _, tensor in policy.network.base_tensors()) / 1e6:.1f} M"
            settings = VllmSettings.of(
                options.vllm_python, model=str(folder), revision=None, cache=Path(work), log=Path(work) / "vllm.log"
            )
            own = TorchSampler(policy)
            rows = [[size, "own", *rates(own, policy, options.repeats)]]
            with closing(VllmSampler(policy, settings, fallback=own, events=Print())) as vllm:
                starts = [until_first_answer(vllm) for _ in range(2)]
                rows.append([size, "vLLM", *rates(vllm, policy, options.repeats)])
                published_ms = [1000 * publish(vllm, policy) for _ in range(20)]
            print(table(header, rows))
            print(f"vLLM's first answer after {starts[0]:.0f} s, of another start after {starts[1]:.0f} s.")
            print(f"A new adapter and one token of one prompt: {spread(published_ms, 0)} ms.\n", flush=True)
    print(f"{footer(machine)} torch {torch.__version__}.")


def larger_model(folder: Path) -> Path:
    """The bundled model's architecture and tokenizer at another size, with random weights."""
    shutil.copytree(MODEL, folder)
    config = AutoConfig.from_pretrained(MODEL, **LARGER)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def rates(sampler: Sampler, policy: Policy, repeats: int) -> list[str]:
    """Tokens per second at each shape, eight completions of each prompt, none of which ends by itself."""
    columns = []
    for shape in SHAPES:
        requests = [
            Request(prompt(policy, i, shape.prompt_tokens), tuple(range(GROUP * i, GROUP * (i + 1))), params(length))
            for i, length in zip(range(shape.num_prompts), cycle(shape.new_tokens), strict=False)
        ]
        found = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            num_tokens = sum(len(one.ids) for one in sampler.sample(requests, params(max(shape.new_tokens))))
            found.append(num_tokens / (time.perf_counter() - start))
        columns.append(spread(found[1:], 0))
    return columns


def params(length: int) -> SamplingParams:
    return SamplingParams(length, stop_ids=frozenset())


def prompt(policy: Policy, number: int, length: int) -> tuple[int, ...]:
    """As many tokens, and another beginning for each number: nothing is shared between prompts."""
    text = f"{number}: find the maximum of " + ", ".join(str(7 * number * k % 89) for k in range(length))
    return tuple(policy.tokenizer(text)["input_ids"][:length])


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
