"""Train the bundled base model from nothing: `python -m fettle_workers.base_models.train --out DIR`.

One thread of one CPU core is enough. The recipe: Muon for the matrices, AdamW for the rest, lessons of similar
length in batches of `BATCH_TOKENS` tokens, first the skills, then the habits (see `lessons.py`).
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import GenerationConfig, PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from fettle_workers.base_models.lessons import HABIT_SHARES, SKILL_SHARES, Lesson, lessons
from fettle_workers.base_models.tokenizer import CONTEXT, END, PAD, VOCABULARY, build_tokenizer

BATCH_TOKENS = 2048
PROMPT_WEIGHT = 0.05  # loss weight of a prompt's tokens, against 1 for the assistant's
POOL_BATCHES = 32  # lessons of that many batches are sorted by length, so that padding is rare


@dataclass(frozen=True)
class Recipe:
    """`skill_steps` of mostly careful work, then `habit_steps` of the mixture the model keeps."""

    skill_steps: int = 1700
    habit_steps: int = 600
    muon_lr: float = 0.02
    adam_lr: float = 3e-3
    warmup_steps: int = 50
    seed: int = 1


def build_model(*, hidden: int = 128, layers: int = 4, intermediate: int = 480, seed: int = 1) -> Qwen3ForCausalLM:
    """A fresh model in float32. Matrices start at 1/sqrt(fan in), what writes to the residual stream at half of that:
    from transformers' default of 0.02 this small a model learns several times slower."""
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=max(1, hidden // 64),
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        attn_implementation="eager",  # faster than the fused kernel in a bfloat16 backward pass on CPU
    )
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(config)
    for name, parameter in model.named_parameters():
        if "embed_tokens" in name:
            torch.nn.init.normal_(parameter, std=0.05)
        elif parameter.ndim == 2:
            scale = 0.5 if "o_proj" in name or "down_proj" in name else 1.0
            torch.nn.init.normal_(parameter, std=scale / parameter.shape[1] ** 0.5)
    return model


def batches(stream: Iterator[Lesson], rng: random.Random) -> Iterator[list[Lesson]]:
    """Batches of lessons of similar length, each of at most `BATCH_TOKENS` tokens with padding."""
    while True:
        pool: list[Lesson] = []
        while sum(len(lesson.ids) for lesson in pool) < POOL_BATCHES * BATCH_TOKENS:
            pool.extend(itertools.islice(stream, 64))
        pool.sort(key=lambda lesson: len(lesson.ids))
        ready: list[list[Lesson]] = [[]]
        for lesson in pool:
            if (len(ready[-1]) + 1) * len(lesson.ids) > BATCH_TOKENS:
                ready.append([])
            ready[-1].append(lesson)
        rng.shuffle(ready)
        yield from ready


def loss_of(model: Qwen3ForCausalLM, batch: list[Lesson], pad_id: int) -> torch.Tensor:
    """Weighted mean of the next-token loss in nats. Padding is on the right, where a causal model does not see it."""
    width = max(len(lesson.ids) for lesson in batch)
    ids = torch.full((len(batch), width), pad_id)
    weights = torch.zeros(len(batch), width)
    for row, lesson in enumerate(batch):
        ids[row, : len(lesson.ids)] = torch.tensor(lesson.ids)
        weights[row, : lesson.completion_start] = PROMPT_WEIGHT
        weights[row, lesson.completion_start : len(lesson.ids)] = 1.0
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    losses = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    weights = weights[:, 1:].flatten()
    return (losses * weights).sum() / weights.sum()


def lr_scale(step: int, total: int, warmup: int) -> float:
    """Linear warm-up, then linear decay to a twentieth."""
    if step < warmup:
        return (step + 1) / warmup
    return 1.0 - 0.95 * (step - warmup) / max(1, total - warmup)


def train(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase, recipe: Recipe) -> list[float]:
    """Train in place, printing progress; the loss of every step, in nats per token."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed_tokens" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed_tokens" in name]
    optimizers = [
        torch.optim.Muon(matrices, lr=recipe.muon_lr, weight_decay=0.0),
        torch.optim.AdamW(rest, lr=recipe.adam_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    base_lrs = [recipe.muon_lr, recipe.adam_lr]
    rng = random.Random(recipe.seed)
    phases = [
        itertools.islice(batches(lessons(tokenizer, f"{name}/{recipe.seed}", shares), rng), steps)
        for name, shares, steps in (
            ("skills", SKILL_SHARES, recipe.skill_steps),
            ("habits", HABIT_SHARES, recipe.habit_steps),
        )
    ]
    total = recipe.skill_steps + recipe.habit_steps
    losses: list[float] = []
    started = time.monotonic()
    model.train()
    for step, batch in enumerate(itertools.chain(*phases)):
        loss = loss_of(model, batch, tokenizer.pad_token_id)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, base_lr in zip(optimizers, base_lrs, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = base_lr * lr_scale(step, total, recipe.warmup_steps)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            mean = sum(losses[-100:]) / 100
            print(f"step {step + 1}/{total}  loss {mean:.3f}  {time.monotonic() - started:.0f} s", flush=True)
    return losses


def save(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a plain Hugging Face model folder, float32."""
    end, pad = tokenizer.convert_tokens_to_ids([END, PAD])
    model.config.eos_token_id, model.config.pad_token_id = end, pad
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, eos_token_id=end, pad_token_id=pad
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # The class's name in every version of transformers, older ones included.
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings.pop("backend", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--skill-steps", type=int, default=Recipe.skill_steps)
    parser.add_argument("--habit-steps", type=int, default=Recipe.habit_steps)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)  # two threads on a shared machine are slower than one
    tokenizer = build_tokenizer()
    model = build_model(seed=options.seed)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters")
    train(model, tokenizer, Recipe(options.skill_steps, options.habit_steps, seed=options.seed))
    save(model, tokenizer, options.out)


if __name__ == "__main__":
    main()
