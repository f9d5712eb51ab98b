"""The tokenizer: bytes, a few hundred merges learnt from the families' wording, and the tokens of the chat format.

All 256 bytes are in the vocabulary, so any text is encoded without loss. Digits are never merged: a tiny model
learns column arithmetic on single digits, not on `148`. As in Qwen3, `<think>` and `</think>` are added but not
special, so that decoding with `skip_special_tokens=True` keeps them.
"""

from __future__ import annotations

from importlib.resources import files

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from fettle_workers.base_models.families import FAMILIES, tasks

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (PAD, START, END)
TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
VOCABULARY = 512
CONTEXT = 2048

# A word with the space before it, one digit, a run of punctuation, white space.
SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|[^\s\p{L}\p{N}]+|\s"


def corpus(tasks_per_family: int = 300) -> list[str]:
    """Text of every family and of the chat format, from training prompts only."""
    lines = ["user", "assistant", "system"] * (20 * tasks_per_family)
    for family in FAMILIES:
        for _, task in zip(range(tasks_per_family), tasks(family, "tokenizer", held_out=False), strict=False):
            lines += [task.prompt, task.careful.thinking, task.answer, "easy"]
    return lines


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Learn the merges; the same result on every call."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL) - len(TAGS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[START],
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        chat_template=files("fettle_workers.base_models").joinpath("chat_template.jinja").read_text("utf-8"),
    )
