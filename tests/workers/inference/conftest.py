"""Small random models of several architectures with one byte-level tokenizer, saved once as plain model folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import AutoConfig

from fettle_workers.engine.model import Policy, load_policy, use_threads

CHAT_TEMPLATE = """{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor -%}
{%- if tools %}{{ '<|im_start|>tools\n' + (tools | tojson) + '<|im_end|>\n' }}{% endif -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif -%}"""


# Untied, because a random model with tied embeddings repeats its last token for ever.
_SMALL = {
    "tie_word_embeddings": False,
    "vocab_size": 264,
    "hidden_size": 32,
    "num_hidden_layers": 2,
}
_ATTENTION = _SMALL | {
    "max_position_embeddings": 512,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
ARCHITECTURES: dict[str, dict] = {
    "llama": _ATTENTION,
    "mistral": _ATTENTION | {"sliding_window": None},
    "qwen2": _ATTENTION,
    "qwen3": _ATTENTION,
    "gemma2": _ATTENTION | {"sliding_window": 8, "query_pre_attn_scalar": 8},
    "gemma3_text": _ATTENTION | {"sliding_window": 8, "query_pre_attn_scalar": 8, "sliding_window_pattern": 2},
    "mamba": _SMALL | {"state_size": 4},
    "lfm2": _ATTENTION | {"layer_types": ["conv", "full_attention"], "block_multiple_of": 8},
    "qwen3_moe": _ATTENTION | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "gpt2": {
        "vocab_size": 264,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 128,
        "tie_word_embeddings": False,
    },
}


def make_tokenizer(template: str | None = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
    """256 bytes, then three special tokens (256-258), then four marks that are plain text to a decoder."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    marks = ["<think>", "</think>", "<tool_call>", "</tool_call>"]
    core.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in marks])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>", clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = template
    return tokenizer


def save_model(folder: Path, architecture: str, *, seed: int = 0, template: str = CHAT_TEMPLATE, **overrides) -> Path:
    """A random model with larger weights than at initialisation, so that its distributions are not flat."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(architecture, **ARCHITECTURES[architecture] | overrides)
    config.bos_token_id, config.eos_token_id, config.pad_token_id = 256, 258, 256
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "A_log" not in name:
                parameter.normal_(0, 0.5 if "embed" in name else 1.2 / parameter.shape[1] ** 0.5)
    model.generation_config = GenerationConfig(bos_token_id=256, eos_token_id=[258, 256], pad_token_id=256)
    model.save_pretrained(folder)
    make_tokenizer(template).save_pretrained(folder)
    return folder


def wake_adapter(policy: Policy, *, seed: int = 1, scale: float = 0.1) -> None:
    """Give B values, so that the adapter changes what the model says."""
    generator = torch.Generator().manual_seed(seed)
    tensors = policy.adapter_tensors()
    for name, tensor in tensors.items():
        if "lora_B" in name:
            tensor.normal_(0, scale, generator=generator)
    policy.set_adapter_tensors(tensors)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    use_threads(1)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = save_model(tmp_path_factory.mktemp(architecture) / "model", architecture)
        return made[architecture]

    return folder


@pytest.fixture
def policy_of(model_folder: Callable[[str], Path]) -> Callable[..., Policy]:
    def make(architecture: str = "qwen3", **options) -> Policy:
        return load_policy(model_folder(architecture), base_model_id="small", **options)

    return make


@pytest.fixture(scope="session")
def wake() -> Callable[..., None]:
    return wake_adapter


@pytest.fixture(scope="session")
def tokenizer_with() -> Callable[..., PreTrainedTokenizerFast]:
    return make_tokenizer


@pytest.fixture(scope="session")
def save_small_model() -> Callable[..., Path]:
    return save_model


@pytest.fixture(scope="session")
def vllm_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: what vLLM compiles at its first start takes half a minute."""
    return tmp_path_factory.mktemp("vllm-cache")
