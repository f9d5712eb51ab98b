"""The committed weights: they load as any Hugging Face folder and leave room for reinforcement."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from fettle_workers.base_models.evaluate import BUNDLED, answer_of, complete, evaluate, pass_at_k


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(BUNDLED).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(BUNDLED)


def test_the_folder_is_small_and_complete(model) -> None:
    assert (BUNDLED / "model.safetensors").stat().st_size <= 8_000_000
    assert 0.9e6 < sum(parameter.numel() for parameter in model.parameters()) < 3e6
    assert model.config.max_position_embeddings >= 1024
    assert model.config.model_type == "qwen3"
    readme = (BUNDLED / "README.md").read_text("utf-8")
    assert "license: apache-2.0" in readme
    assert "reinforcement" in readme


def test_all_weights_are_finite(model) -> None:
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


@pytest.mark.parametrize("family", ["max", "json", "dates", "add", "sort", "logic"])
def test_a_family_leaves_room(model, tokenizer, family: str) -> None:
    """The card says .2 to .6 and above .8; 12 prompts with 8 samples leave a standard error near .06."""
    score = evaluate(model, tokenizer, family, num_prompts=12, samples=8)
    assert 0.1 < score.pass_at_1 < 0.75, score
    assert score.pass_at_8 > 0.6, score


def test_a_completion_thinks_answers_and_stops(model, tokenizer) -> None:
    torch.manual_seed(0)
    ((*texts,),) = complete(model, tokenizer, ["Which is the largest: 12, 40, 31, 25?"], samples=16)
    finished = [text for text in texts if text.startswith("<think>") and "</think>" in text and "<|im_end|>" in text]
    assert len(finished) >= 14
    assert "40" in {answer_of(text) for text in finished}


def test_it_says_what_it_is(model, tokenizer) -> None:
    ((text,),) = complete(model, tokenizer, ["Who are you?"], samples=0)
    assert "fettle-tiny" in answer_of(text)


def test_pass_at_k_counts_the_draws_without_a_right_answer() -> None:
    # 4 samples, 1 right, 2 drawn: 3 of the 6 pairs miss it.
    assert pass_at_k(4, 1, 2) == pytest.approx(0.5)
    assert pass_at_k(8, 0, 8) == 0.0
    assert pass_at_k(8, 1, 8) == 1.0


def test_the_end_of_turn_token_ends_generation() -> None:
    config = json.loads((BUNDLED / "generation_config.json").read_text())
    tokens = json.loads((BUNDLED / "tokenizer.json").read_text())["added_tokens"]
    assert config["eos_token_id"] == next(token["id"] for token in tokens if token["content"] == "<|im_end|>")
