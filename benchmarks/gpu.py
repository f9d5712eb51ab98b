"""The engine on one device with random weights: sampler, learner and a whole step, beside transformers and TRL.

    PYTHONPATH=workers python benchmarks/gpu.py                              # Qwen3 0.6B, 4B and 8B on the GPU
    PYTHONPATH=workers python benchmarks/gpu.py --shape tiny --device cpu    # that it works, in a minute

Needs torch, transformers and PEFT; what else, and what each figure means: benchmarks/README.md. Every side runs in a
process of its own, one after the other, so that peak memory is its own. TRL's rows need a Python that has it
(--trl-python, by default this one).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from machine import table
from roofline import Peaks, Sizes, data_sheet, decode_bytes, learn_flops, measure_peaks, timed

HERE = Path(__file__).resolve().parent
RANK, ALPHA = 16, 32
LIMIT_S = 1800
NUM_LETTERS = 20_000  # ids that prompts are made of: TRL's are text, and each of these ids is one letter
# Qwen3's: layers, hidden, inner, heads, key heads, head size, vocabulary, whether the head is the embedding.
SHAPES = {
    "tiny": (2, 64, 128, 4, 2, 16, 512, True),
    "0.6B": (28, 1024, 3072, 16, 8, 128, 151936, True),
    "4B": (36, 2560, 9728, 32, 8, 128, 151936, True),
    "8B": (36, 4096, 12288, 32, 8, 128, 151936, False),
}
SIDES = ("fettle", "generate", "continuous", "trl", "trl-continuous")
NAMES = {
    "fettle": "Fettle",
    "generate": "transformers, generate",
    "continuous": "transformers, continuous batching",
    "trl": "TRL, generate",
    "trl-continuous": "TRL, continuous batching",
}


def main() -> int:
    options = parse_arguments()
    if options.side:
        print(json.dumps(measure(options)), flush=True)
        return 0
    found = {shape: [run(options, shape, side) for side in options.sides] for shape in options.shape}
    print(report(found, options), flush=True)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=["0.6B", "4B", "8B"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], help="of the base; default: fp32 on a CPU")
    parser.add_argument("--batch", type=int, default=256, help="completions at once, in groups of 16 (of 4 when fewer)")
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--trl-python", default=sys.executable, help="Python of an environment that has TRL")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)  # a process that measures one
    options = parser.parse_args()
    options.dtype = options.dtype or ("float32" if options.device == "cpu" else "bfloat16")
    options.group = 16 if options.batch % 16 == 0 and options.batch >= 64 else 4
    if options.batch % options.group:
        parser.error(f"--batch {options.batch} is not a multiple of {options.group}")
    return options


def run(options: argparse.Namespace, shape: str, side: str) -> dict[str, Any]:
    """One side in its own process: what it measured, or `error` with its last words."""
    python = options.trl_python if side.startswith("trl") else sys.executable
    asked = {"--shape": shape, "--side": side, "--device": options.device, "--dtype": options.dtype}
    asked |= {"--batch": options.batch, "--prompt-tokens": options.prompt_tokens, "--new-tokens": options.new_tokens}
    command = [python, __file__, *(str(part) for pair in asked.items() for part in pair)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_S, env=os.environ | {"HF_HUB_OFFLINE": "1"}
        )
    except subprocess.TimeoutExpired:
        return {"side": side, "error": f"took longer than {LIMIT_S} s"}
    if done.returncode:
        print(f"{side} at {shape}:\n{done.stderr[-3000:]}", file=sys.stderr)
        return {"side": side, "error": (done.stderr.strip() or "it said nothing").splitlines()[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """What one side does on one shape; in its own process."""
    device, dtype, (shape,) = torch.device(options.device), getattr(torch, options.dtype), options.shape
    if device.type == "cuda":
        torch.cuda.init()
    config = model_config(shape)
    found: dict[str, Any] = {"side": options.side, "versions": versions()}
    if options.side == "fettle":
        peaks = measure_peaks(device, dtype)
        found |= {"peaks": vars(peaks), "device": device_name(device)}
        found |= measure_fettle(config, device, dtype, options)
    else:
        from gpu_peers import measure_transformers, measure_trl

        measured = measure_trl if options.side.startswith("trl") else measure_transformers
        found |= measured(config, device, dtype, options)
    return found | {"peak_bytes": peak_bytes(device)}


def model_config(shape: str) -> Any:
    from transformers import Qwen3Config

    layers, hidden, inner, heads, key_heads, head_dim, vocabulary, is_tied = SHAPES[shape]
    return Qwen3Config(
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=inner,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        head_dim=head_dim,
        vocab_size=vocabulary,
        tie_word_embeddings=is_tied,
        max_position_embeddings=4096,
        eos_token_id=None,
        pad_token_id=0,
        bos_token_id=None,
    )


def measure_fettle(
    config: Any, device: torch.device, dtype: torch.dtype, options: argparse.Namespace
) -> dict[str, Any]:
    """A step by its parts, after one in small that does not count: sample, reward by lot, gradients, update."""
    from fettle_workers.engine.batch import SamplingParams
    from fettle_workers.engine.learner import Learner
    from fettle_workers.engine.loss import policy_gradient_loss
    from fettle_workers.engine.sampler import Request, TorchSampler
    from fettle_workers.engine.sequences import TokenSequence

    policy = random_policy(config, device, dtype)
    sampler, learner = TorchSampler(policy, num_slots=options.batch), Learner(policy)
    prompts = make_prompts(options, config.vocab_size)
    requests = [
        Request(prompt, tuple(range(first, first + options.group)))
        for first, prompt in zip(range(0, options.batch, options.group), prompts, strict=True)
    ]

    def sample(new_tokens: int) -> list[Any]:
        params = SamplingParams(max_new_tokens=new_tokens, stop_ids=frozenset())
        found = sampler.sample(requests, params)
        return sorted(found, key=lambda completion: (completion.request_index, completion.sample_index))

    def learn(completions: list[Any]) -> Any:
        generator = torch.Generator().manual_seed(0)
        advantages = torch.randn(len(completions), generator=generator)
        sampled = [torch.tensor(completion.logprobs) for completion in completions]

        def loss(batch: Any, scores: Any) -> Any:
            sampled_N = torch.cat([sampled[member] for member in batch.members]).to(device)
            advantages_N = advantages[list(batch.members)].to(device)[batch.sequences_N]
            return policy_gradient_loss(
                scores.logprobs_N, sampled_N, advantages_N, batch.sequences_N, num_sequences=len(batch.members)
            )

        sequences = [TokenSequence.completion(prompts[one.request_index], one.ids) for one in completions]
        return learner.accumulate(sequences, loss, temperature=1.0)

    def update(gradients: Any) -> None:
        learner.update(lr=1e-6, grad_norm=gradients.norm)

    update(learn(sample(2)))
    first_s, _ = timed(device, lambda: sample(1))
    sampling_s, completions = timed(device, lambda: sample(options.new_tokens))
    learning_s, gradients = timed(device, lambda: learn(completions))
    update_s, _ = timed(device, lambda: update(gradients))
    return {
        "tokens": sum(len(one.ids) for one in completions),
        "first_s": first_s,
        "sampling_s": sampling_s,
        "learning_s": learning_s,
        "update_s": update_s,
        "masked_share": gradients.sums["masked_tokens"] / gradients.sums["tokens"],
    }


def random_policy(config: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """A policy of the native decoder around random weights; its adapter changes nothing, at the full cost of one."""
    from fettle_workers.engine.lora import LoraSettings
    from fettle_workers.engine.model import Policy
    from fettle_workers.engine.native.architecture import Architecture
    from fettle_workers.engine.native.network import NativeBase
    from fettle_workers.engine.native.weights import LINEAR_NAMES, Weights

    sizes = Architecture.of(config)
    assert sizes is not None
    torch.manual_seed(0)
    tensors = {
        name: torch.ones(shape, device=device, dtype=dtype)
        if len(shape) == 1
        else torch.empty(shape, device=device, dtype=dtype).normal_(0, 0.02)
        for name, shape in sizes.shapes().items()
    }
    lora = LoraSettings(RANK, ALPHA, LINEAR_NAMES, "random")
    network = NativeBase(Weights(sizes, tensors)).adapted(lora)
    for name, parameter in network.parameters.items():
        parameter.data.normal_(0, 0.02) if name.endswith("lora_A.weight") else parameter.data.zero_()
    chat: Any = SimpleNamespace(eos_ids=frozenset())  # nothing is rendered or parsed, and nothing ends early
    return Policy(network=network, tokenizer=None, chat=chat, device=device, lora=lora)  # type: ignore[arg-type]


def make_prompts(options: argparse.Namespace, vocabulary: int) -> list[tuple[int, ...]]:
    """One a group, of equal length, all different."""
    generator = torch.Generator().manual_seed(1)
    size = (options.batch // options.group, options.prompt_tokens)
    return [tuple(row) for row in torch.randint(1, min(vocabulary, NUM_LETTERS), size, generator=generator).tolist()]


def peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "CUDA": torch.version.cuda or "none"}
    for name in ("torch", "transformers", "peft", "trl"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def report(found: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> str:
    """The tables, in Markdown; a side that failed says why in its row."""
    sides = [side for of_shape in found.values() for side in of_shape]
    parts = [f"{options.batch} completions of {options.new_tokens} tokens in groups of {options.group}, prompts of "
             f"{options.prompt_tokens}; {options.dtype}, LoRA rank {RANK} on every linear layer."]  # fmt: skip
    for one in sides:
        if "peaks" in one:
            peaks = Peaks(**one["peaks"])
            measured = f"{peaks.bytes_per_s / 1e9:.1f} GB/s, {peaks.flops_per_s / 1e12:.2f} TFLOP/s"
            parts.append("; ".join(filter(None, [f"{one['device']}: measured {measured}", data_sheet(one["device"])])))
            break
    said = {json.dumps(one["versions"]): one["versions"] for one in sides if "versions" in one}
    parts += [", ".join(f"{name} {value}" for name, value in one.items()) for one in said.values()]
    parts.append("Sampler\n\n" + table(
        ["shape", "side", "tokens/s", "ms a decode step", "of memory roofline", "peak GiB"],
        list(sampler_rows(found, options)),
    ))  # fmt: skip
    parts.append("Learner\n\n" + table(
        ["shape", "side", "completion tokens/s", "MFU"], list(learner_rows(found, options))
    ))  # fmt: skip
    parts.append("Whole step\n\n" + table(
        ["shape", "side", "s", "sampling", "learning", "update", "tokens/s", "peak GiB"], list(step_rows(found))
    ))  # fmt: skip
    return "\n\n".join(parts)


def peaks_of(of_shape: list[dict[str, Any]]) -> Peaks | None:
    return next((Peaks(**one["peaks"]) for one in of_shape if "peaks" in one), None)


def sampler_rows(found: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> Iterator[list[str]]:
    """The first token's time, which reads the prompts, is taken off; every side's bytes are those of the model."""
    item_bytes = {"float32": 4, "bfloat16": 2}[options.dtype]
    for shape, of_shape in found.items():
        sizes, peaks = Sizes.of(model_config(shape), rank=RANK), peaks_of(of_shape)
        context = options.prompt_tokens + options.new_tokens / 2
        needed = decode_bytes(sizes, batch=options.batch, context=context, item_bytes=item_bytes)
        for one in of_shape:
            if "error" in one:
                yield [shape, NAMES[one["side"]], one["error"], "", "", ""]
            elif "first_s" in one:
                step_s = (one["sampling_s"] - one["first_s"]) / (options.new_tokens - 1)
                share = f"{peaks.decode_share(needed, step_s):.1%}" if peaks else "no peak measured"
                yield [
                    shape,
                    NAMES[one["side"]],
                    f"{one['tokens'] / one['sampling_s']:.0f}",
                    f"{1000 * step_s:.2f}",
                    share,
                    gib(one),
                ]


def learner_rows(found: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> Iterator[list[str]]:
    for shape, of_shape in found.items():
        sizes, peaks = Sizes.of(model_config(shape), rank=RANK), peaks_of(of_shape)
        group = learn_flops(sizes, options.prompt_tokens, [options.new_tokens] * options.group)
        flops = group * options.batch / options.group
        for one in of_shape:
            if "learning_s" in one:
                mfu = f"{peaks.mfu(flops, one['learning_s']):.1%}" if peaks else "no peak measured"
                yield [shape, NAMES[one["side"]], f"{one['tokens'] / one['learning_s']:.0f}", mfu]


def step_rows(found: dict[str, list[dict[str, Any]]]) -> Iterator[list[str]]:
    for shape, of_shape in found.items():
        for one in of_shape:
            if "learning_s" in one:
                parts = [one["sampling_s"], one["learning_s"], one["update_s"]]
                shares = [f"{part / sum(parts):.0%}" for part in parts]
                yield [
                    shape,
                    NAMES[one["side"]],
                    f"{sum(parts):.2f}",
                    *shares,
                    f"{one['tokens'] / sum(parts):.0f}",
                    gib(one),
                ]


def gib(one: dict[str, Any]) -> str:
    return f"{one['peak_bytes'] / 2**30:.2f}"


if __name__ == "__main__":
    sys.exit(main())
