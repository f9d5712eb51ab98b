"""Measure a model folder on held-out prompts: `python -m fettle_workers.base_models.evaluate [DIR]`."""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from fettle_workers.base_models.families import FAMILIES, tasks
from fettle_workers.base_models.lessons import render
from fettle_workers.base_models.task import Task

BUNDLED = Path(__file__).parent / "fettle-tiny"
MAX_NEW_TOKENS = 96


@dataclass(frozen=True)
class Score:
    """Of one family: shares in [0, 1]; `mean_tokens` of a sampled completion."""

    family: str
    pass_at_1: float
    pass_at_8: float
    greedy: float
    mean_tokens: float


def answer_of(completion: str) -> str:
    """What follows the thinking, without the tokens that end a turn."""
    return completion.rpartition("</think>")[2].split("<|im_end|>")[0].strip()


def is_right(task: Task, completion: str) -> bool:
    answer = answer_of(completion)
    if task.family != "json":
        return answer == task.answer
    try:
        return json.loads(answer) == json.loads(task.answer)
    except ValueError:
        return False


def pass_at_k(num_samples: int, num_right: int, k: int) -> float:
    """Unbiased estimate of the chance that one of k samples is right. Source: Chen et al. 2021, arXiv:2107.03374."""
    return 1.0 - math.comb(num_samples - num_right, k) / math.comb(num_samples, k)


@torch.inference_mode()
def complete(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], *, samples: int
) -> list[list[str]]:
    """Completions of each prompt at temperature 1; with `samples=0` the one greedy completion."""
    texts = [render([{"role": "user", "content": prompt}]) for prompt in prompts]
    inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    sampling = {"do_sample": True, "num_return_sequences": samples, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    output = model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, **(sampling if samples else {"do_sample": False}))
    decoded = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :])
    each = max(1, samples)
    return [decoded[start : start + each] for start in range(0, len(decoded), each)]


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    family: str,
    *,
    num_prompts: int = 64,
    samples: int = 16,
    seed: int = 0,
) -> Score:
    chosen = list(itertools.islice(tasks(family, f"evaluate/{seed}", held_out=True), num_prompts))
    prompts = [task.prompt for task in chosen]
    torch.manual_seed(seed)
    sampled = complete(model, tokenizer, prompts, samples=samples)
    greedy = complete(model, tokenizer, prompts, samples=0)
    right = [sum(is_right(task, text) for text in texts) for task, texts in zip(chosen, sampled, strict=True)]
    flat = [text.split("<|im_end|>")[0] for texts in sampled for text in texts]
    lengths = [len(ids) + 1 for ids in tokenizer(flat, add_special_tokens=False)["input_ids"]]
    return Score(
        family,
        pass_at_1=sum(right) / (samples * len(chosen)),
        pass_at_8=sum(pass_at_k(samples, count, min(8, samples)) for count in right) / len(chosen),
        greedy=sum(is_right(task, texts[0]) for task, texts in zip(chosen, greedy, strict=True)) / len(chosen),
        mean_tokens=sum(lengths) / len(lengths),
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=BUNDLED)
    parser.add_argument("--prompts", type=int, default=64, help="held-out prompts of each family")
    parser.add_argument("--samples", type=int, default=16, help="completions of each prompt, at least 8")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(options.folder)
    model = AutoModelForCausalLM.from_pretrained(options.folder).eval()
    print("| family | pass@1 | pass@8 | greedy | tokens |\n| --- | --- | --- | --- | --- |")
    for family in FAMILIES:
        score = evaluate(model, tokenizer, family, num_prompts=options.prompts, samples=options.samples)
        numbers = f"{score.pass_at_1:.2f} | {score.pass_at_8:.2f} | {score.greedy:.2f} | {score.mean_tokens:.0f}"
        print(f"| {family} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
