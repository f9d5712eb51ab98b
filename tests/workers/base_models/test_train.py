"""The recipe on a very small model, and its parts."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from fettle_workers.base_models.lessons import HABIT_SHARES, Lesson, lessons
from fettle_workers.base_models.tokenizer import build_tokenizer
from fettle_workers.base_models.train import (
    BATCH_TOKENS,
    PROMPT_WEIGHT,
    Recipe,
    batches,
    build_model,
    loss_of,
    lr_scale,
    save,
    train,
)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def small_model():
    return build_model(hidden=32, layers=1, intermediate=64)


def test_a_few_steps_lower_the_loss_and_the_same_seed_repeats_them(tokenizer, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    runs = []
    for _ in range(2):
        model = small_model()
        runs.append(train(model, tokenizer, Recipe(skill_steps=10, habit_steps=4, warmup_steps=2)))
    assert runs[0] == runs[1]
    assert runs[0][-1] < runs[0][0] - 0.5
    save(model, tokenizer, tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(loaded.model.embed_tokens.weight, model.model.embed_tokens.weight)
    assert AutoTokenizer.from_pretrained(tmp_path).encode("hi 12") == tokenizer.encode("hi 12")


def test_batches_keep_every_lesson_and_stay_within_their_size() -> None:
    rng = random.Random(0)
    stream = [Lesson(tuple(range(rng.randint(30, 90))), 20) for _ in range(64 * 20)]
    made = list(itertools.islice(batches(iter(stream), rng), 20))
    assert all(len(batch) * max(len(lesson.ids) for lesson in batch) <= BATCH_TOKENS for batch in made)
    padded = sum(len(batch) * max(len(lesson.ids) for lesson in batch) for batch in made)
    used = sum(len(lesson.ids) for batch in made for lesson in batch)
    assert used / padded > 0.9


def test_the_loss_weighs_prompt_tokens_lightly_and_padding_not_at_all() -> None:
    model = small_model().eval()
    long, short = Lesson((5, 6, 7, 8), 2), Lesson((5, 6), 1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logprobs = model(input_ids=torch.tensor([long.ids])).logits.float().log_softmax(-1)[0]
    # Targets 6 (prompt in the long lesson, completion in the short one), 7 and 8 (completion).
    nll = [-logprobs[place, target].item() for place, target in ((0, 6), (1, 7), (2, 8))]
    expected = (PROMPT_WEIGHT * nll[0] + nll[1] + nll[2] + nll[0]) / (PROMPT_WEIGHT + 3)
    assert loss_of(model, [long, short], pad_id=0).item() == pytest.approx(expected, rel=2e-2)


def test_the_learning_rate_warms_up_and_decays() -> None:
    assert [lr_scale(step, 100, 10) for step in (0, 9, 10, 99)] == pytest.approx([0.1, 1.0, 1.0, 1 - 0.95 * 89 / 90])


def test_lessons_end_with_thinking_an_answer_and_the_end_of_the_turn(tokenizer) -> None:
    for lesson in itertools.islice(lessons(tokenizer, "test", HABIT_SHARES), 50):
        prompt = tokenizer.decode(lesson.ids[: lesson.completion_start])
        completion = tokenizer.decode(lesson.ids[lesson.completion_start :])
        assert prompt.endswith("<|im_end|>\n<|im_start|>assistant\n")
        thinking, _, answer = completion.removeprefix("<think>").partition("</think>")
        assert completion.startswith("<think>")
        assert thinking
        assert answer.endswith("<|im_end|>\n")
