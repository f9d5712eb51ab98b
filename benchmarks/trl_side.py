"""TRL's half of `engine_vs_trl.py`: runs in an environment that has TRL and nothing of Fettle.

Reads one JSON object of settings from standard input, trains, and writes JSON lines: `ready`, then one `step` a step
with running totals, and `saved` for each adapter folder written for the held-out measurement.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

STARTED = time.perf_counter()


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    stream = claim_standard_output()

    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, ProgressCallback
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(settings["threads"])
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    reward = Reward(tokenizer, settings["holds"])
    rows = [json.loads(line) for line in Path(settings["training_file"]).read_text().splitlines() if line.strip()]
    dataset = Dataset.from_list([{"prompt": row["messages"], "answer": row["answer"]} for row in rows])
    lora = LoraConfig(
        r=settings["lora_rank"],
        lora_alpha=settings["lora_alpha"],
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    trainer = GRPOTrainer(
        model=settings["model"],
        reward_funcs=reward,
        args=GRPOConfig(**config(settings)),
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=lora,
    )
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(clock(settings, reward, stream))
    trainer.train()


def config(settings: dict[str, Any]) -> dict[str, Any]:
    """Fettle's batch, rate and sampling; else TRL's defaults, except where its documentation advises better.

    Advised and taken: no reference model (beta 0, also the default); clipping 0.2 to 0.28 (DAPO); rewards scaled over
    the batch (arXiv:2508.08221). For speed: no gradient checkpointing, which TRL turns on by default and which only
    saves memory; the whole batch in one pass; one update per batch, so that no second forward pass for the old
    logprobs is needed; nothing is logged, saved or reported.
    """
    completions = settings["prompts_per_step"] * settings["group_size"]
    return {
        "output_dir": settings["work_dir"],
        "use_cpu": True,
        "seed": settings["seed"],
        "bf16": settings["dtype"] == "bfloat16",
        "model_init_kwargs": {"dtype": settings["weights_dtype"]},
        "gradient_checkpointing": False,
        "per_device_train_batch_size": completions,
        "gradient_accumulation_steps": 1,
        "num_generations": settings["group_size"],
        "max_completion_length": settings["max_completion_tokens"],
        "temperature": 1.0,
        "max_steps": settings["steps"],
        "learning_rate": settings["learning_rate"],
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": settings["warmup_steps"],
        "max_grad_norm": 1.0,
        "beta": 0.0,
        "epsilon_high": 0.28,
        "loss_type": "dapo",
        "scale_rewards": settings["scale_rewards"],
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }


class Reward:
    """1.0 where the answer is exactly the reference, or holds a given text. The answer is cut out by token ids, as
    Fettle cuts it out."""

    __name__ = "exact"  # TRL names its metrics by this

    def __init__(self, tokenizer: Any, holds: str | None) -> None:
        self._holds = holds
        vocabulary = tokenizer.get_vocab()
        self._tokenizer = tokenizer
        self._open, self._close = vocabulary["<think>"], vocabulary["</think>"]
        self._eos = tokenizer.eos_token_id
        self.num_tokens = 0
        self.num_completions = 0

    def __call__(self, *, completion_ids: Sequence[Sequence[int]], answer: Sequence[str], **_: Any) -> list[float]:
        self.num_tokens += sum(map(len, completion_ids))
        self.num_completions += len(completion_ids)
        answers = [self.answer_of(ids) for ids in completion_ids]
        if self._holds is not None:
            return [float(self._holds in text) for text in answers]
        return [float(text == right) for text, right in zip(answers, answer, strict=True)]

    def answer_of(self, ids: Sequence[int]) -> str:
        """Text outside `<think>` ... `</think>`; white space between the closing mark and the answer is no answer."""
        answer, thinks, has_thought = "", False, False
        run: list[int] = []
        for token in [*ids, None]:
            if token in (self._open, self._close, None):
                answer += "" if thinks else self._tokenizer.decode(run, skip_special_tokens=True)
                run, thinks = [], token == self._open
                has_thought |= token is not None
            elif token != self._eos:
                run.append(token)
        return answer.lstrip() if has_thought else answer


def clock(settings: dict[str, Any], reward: Reward, stream: IO[str]) -> Any:
    """A callback that tells each step's totals; what it spends on saving adapters is not counted."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            tell(stream, "ready", startup_s=time.perf_counter() - STARTED, versions=versions())
            self.zero_s, self.zero_cpu_s = time.perf_counter(), time.process_time()

        def on_step_end(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
            now_s, now_cpu_s = time.perf_counter(), time.process_time()
            totals = {"seconds": now_s - self.zero_s, "cpu_s": now_cpu_s - self.zero_cpu_s}
            counts = {"tokens": reward.num_tokens, "completions": reward.num_completions}
            tell(stream, "step", step=state.global_step, **totals, **counts)
            if state.global_step % settings["eval_every"] == 0:
                folder = Path(settings["work_dir"]) / f"step-{state.global_step:06d}"
                model.save_pretrained(folder, safe_serialization=True)
                tell(stream, "saved", step=state.global_step, folder=str(folder))
            self.zero_s += time.perf_counter() - now_s
            self.zero_cpu_s += time.process_time() - now_cpu_s

    return Clock()


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("trl", "torch", "transformers", "peft", "accelerate")}


def claim_standard_output() -> IO[str]:
    """Keep standard output for JSON lines; whatever else prints, prints to standard error."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


def tell(stream: IO[str], kind: str, **fields: Any) -> None:
    stream.write(json.dumps({"type": kind, **fields}) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
