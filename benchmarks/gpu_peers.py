"""The other sides of `gpu.py`: transformers' two ways to generate, and TRL's step with each of them.

Nothing of Fettle is imported here: TRL may have an environment of its own.
"""

from __future__ import annotations

import argparse
import time
from tempfile import TemporaryDirectory
from typing import Any

import torch
from roofline import synchronize, timed

PAGE_SIZE = 256


def measure_transformers(
    config: Any, device: torch.device, dtype: torch.dtype, options: argparse.Namespace
) -> dict[str, Any]:
    """Sampling at temperature 1 by the base without adapter, which spares them the adapter's cost."""
    from gpu import make_prompts
    from transformers import ContinuousBatchingConfig

    model = random_model(config, device, dtype)
    prompts = [list(prompt) for prompt in make_prompts(options, config.vocab_size) for _ in range(options.group)]

    def generate(new_tokens: int) -> int:
        ids = torch.tensor(prompts, device=device)
        made = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=sampling(new_tokens))
        return (made.shape[1] - ids.shape[1]) * len(prompts)

    def continuous(new_tokens: int) -> int:
        made = model.generate_batch(
            prompts,
            generation_config=sampling(options.new_tokens),
            continuous_batching_config=ContinuousBatchingConfig(**cache(options)),
            persistent_manager=True,  # its start does not count
            max_new_tokens=new_tokens,
        )
        return sum(len(one.generated_tokens) for one in made.values())

    sample = generate if options.side == "generate" else continuous
    sample(2)
    first_s, _ = timed(device, lambda: sample(1))
    sampling_s, tokens = timed(device, lambda: sample(options.new_tokens))
    if tokens != options.batch * options.new_tokens:
        raise SystemExit(f"{tokens} tokens were made, expected {options.batch * options.new_tokens}")
    return {"tokens": tokens, "first_s": first_s, "sampling_s": sampling_s}


def sampling(new_tokens: int) -> Any:
    from transformers import GenerationConfig

    return GenerationConfig(
        max_new_tokens=new_tokens, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, pad_token_id=0, eos_token_id=-1
    )


def cache(options: argparse.Namespace) -> dict[str, int]:
    """Room for all completions at once; by default it would take most of the memory."""
    pages = -(-(options.prompt_tokens + options.new_tokens) // PAGE_SIZE)
    return {
        "page_size": PAGE_SIZE,
        "num_blocks": 2 * options.batch * pages,
        "max_batch_tokens": max(1024, 2 * options.batch),
        "max_requests_per_batch": options.batch,
    }


def random_model(config: Any, device: torch.device, dtype: torch.dtype) -> Any:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def measure_trl(config: Any, device: torch.device, dtype: torch.dtype, options: argparse.Namespace) -> dict[str, Any]:
    """The third step of GRPOTrainer: on the first two it allocates and compiles. Rewards by lot.

    What it does before the loss of a step (generation, rewards, advantages) counts as sampling, the loss and its
    gradients as learning, the rest of the step as update.
    """
    from datasets import Dataset
    from gpu import ALPHA, RANK, make_prompts
    from peft import LoraConfig
    from transformers import ProgressCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = letters(config.vocab_size)
    prompts = ["".join(tokenizer.convert_ids_to_tokens(prompt)) for prompt in make_prompts(options, config.vocab_size)]
    lengths: list[int] = []
    spent = {"sampling_s": 0.0, "forward_and_sampling_s": 0.0}

    def by_lot(completion_ids: list[list[int]], **_: Any) -> list[float]:
        lengths[:] = [len(ids) for ids in completion_ids]
        return torch.rand(len(completion_ids)).tolist()

    class Timed(GRPOTrainer):  # type: ignore[misc]  # untyped
        def _prepare_inputs(self, inputs: Any) -> Any:
            spent["sampling_s"], prepared = timed(device, lambda: super(Timed, self)._prepare_inputs(inputs))
            return prepared

        def training_step(self, *arguments: Any, **named: Any) -> Any:
            step = lambda: super(Timed, self).training_step(*arguments, **named)  # noqa: E731
            spent["forward_and_sampling_s"], loss = timed(device, step)
            return loss

    class Clock(TrainerCallback):  # type: ignore[misc]  # untyped
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            synchronize(device)
            self.start = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            synchronize(device)
            spent["step_s"] = time.perf_counter() - self.start

    with TemporaryDirectory() as folder:
        trainer = Timed(
            model=random_model(config, device, dtype),
            reward_funcs=by_lot,
            args=GRPOConfig(
                output_dir=folder, use_cpu=device.type == "cpu", bf16=dtype is torch.bfloat16, max_steps=3,
                per_device_train_batch_size=options.batch, gradient_accumulation_steps=1, num_generations=options.group,
                max_completion_length=options.new_tokens, temperature=1.0, beta=0.0, learning_rate=1e-6,
                gradient_checkpointing=options.prompt_tokens + options.new_tokens > 1024, logging_strategy="no",
                save_strategy="no", report_to=[], disable_tqdm=True,
                use_transformers_continuous_batching=options.side == "trl-continuous",
                transformers_continuous_batching_config=cache(options) if options.side == "trl-continuous" else None,
            ),
            train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts * 3]),
            processing_class=tokenizer,
            peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"),
        )  # fmt: skip
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(Clock())
        trainer.train()
    learning_s = spent["forward_and_sampling_s"] - spent["sampling_s"]
    update_s = spent["step_s"] - spent["forward_and_sampling_s"]
    return {"tokens": sum(lengths), "sampling_s": spent["sampling_s"], "learning_s": learning_s, "update_s": update_s}


def letters(vocabulary: int) -> Any:
    """A tokenizer with one letter for each of the first ids, so that a prompt has as many tokens as letters. The model
    has no logit for its end of text: every completion is as long as it may be."""
    from gpu import NUM_LETTERS
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {chr(0x4E00 + number) if number < NUM_LETTERS else f"<{number}>": number for number in range(vocabulary)}
    core = Tokenizer(models.WordLevel(vocab=vocab, unk_token=chr(0x4E00)))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token=chr(0x4E00), eos_token="<end>")
