"""Reward models: trained from graded rollouts by one command, loaded by name, asked by two kinds."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from fettle_graders.compile import compile_grader
from fettle_graders.errors import GradeFailure
from fettle_graders.sample import Sample
from fettle_graders.services import Services
from fettle_graders.spec import parse_grader
from fettle_workers.adapters.graders import InProcessGraderRunner
from fettle_workers.adapters.scorer import RewardModel, RewardModelError, TorchScorer
from fettle_workers.engine.rollout_table import SCHEMA
from fettle_workers.reward_models.train import (
    Example,
    NoExamplesError,
    pair_accuracy,
    read_examples,
    train_reward_model,
)

TINY = Path(__file__).parents[3] / "workers" / "fettle_workers" / "base_models" / "fettle-tiny"


def write_rollouts(path: Path, records: list[dict]) -> Path:
    empty = dict.fromkeys(SCHEMA.names)
    pq.write_table(pa.Table.from_pylist([empty | record for record in records], schema=SCHEMA), path)
    return path


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> tuple[Path, Path]:
    """Training rows and graded rollouts: an answer that ends in "yes" is right, one that ends in "no" is wrong."""
    folder = tmp_path_factory.mktemp("job")
    draw = random.Random(0)
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({"messages": [{"role": "user", "content": f"q{n}"}]}) + "\n" for n in range(40)))
    records = []
    for row in range(40):
        for sample in range(4):
            word = draw.choice(["yes", "no"])
            text = f"{draw.randrange(100)} {word}"
            record = {
                "source": "training_file",
                "row": row,
                "sample_index": sample,
                "text": text,
                "reward": float(word == "yes"),
            }
            records.append(record)
    records.append({"source": "training_file", "row": 0, "text": "x", "reward": None})
    records.append({"source": "validation_file", "row": 39, "text": "x", "reward": 5.0})
    return rows, write_rollouts(folder / "rollouts.parquet", records)


@pytest.fixture(scope="module")
def trained(job, tmp_path_factory) -> tuple[Path, str]:
    """A folder that the command wrote, and what it said."""
    out = tmp_path_factory.mktemp("trained") / "rm"
    command = [
        sys.executable, "-m", "fettle_workers.reward_models", "--rows", str(job[0]), "--rollouts", str(job[1]),
        "--out", str(out), "--steps", "60", "--lr", "1e-3",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return out, done.stdout


@pytest.fixture(scope="module")
def scorer(trained) -> TorchScorer:
    return TorchScorer({"mine": trained[0], "base": TINY, "gone": Path("/nowhere")})


def reward_model(**fields):
    return parse_grader({"type": "reward_model", "model": "mine", **fields})


def grade(spec, scorer, text):
    item = {"messages": [{"role": "user", "content": "q1"}]}
    return compile_grader(spec, Services(scorer=scorer)).grade(item, Sample(text))


def test_the_command_trains_a_model_that_tells_right_from_wrong_on_rows_it_never_saw(trained) -> None:
    said = trained[1]
    assert "144 answers, 16 held out" in said  # of 40 rows 0, 10, 20, 30
    assert "100% of held-out pairs in the right order" in said


def test_a_better_answer_scores_higher(scorer) -> None:
    good, bad = (grade(reward_model(), scorer, text).score for text in ("31 yes", "31 no"))
    assert 0 <= bad < 0.5 < good <= 1


def test_without_activation_the_score_is_the_heads_own(scorer) -> None:
    raw = grade(reward_model(activation="none"), scorer, "31 yes").score
    assert grade(reward_model(), scorer, "31 yes").score == pytest.approx(1 / (1 + torch.tensor(-raw).exp().item()))


def test_a_text_scores_the_same_alone_and_in_a_batch(scorer) -> None:
    texts = ["a yes", "a much longer text that ends in no", "b"]
    together = scorer.score("mine", texts)
    assert together == pytest.approx([scorer.score("mine", [text])[0] for text in texts], abs=1e-4)


@pytest.mark.parametrize(("aggregate", "expected"), [("min", 0.25), ("product", 0.25 * 0.5 * 0.8), ("last", 0.8)])
def test_steps_are_scored_at_their_ends_and_made_one_number(aggregate: str, expected: float) -> None:
    """Sigmoids of log-odds: steps of 0.5, 0.25 and 0.8."""
    asked: list[list[str]] = []

    class Fixed:
        def score(self, model, texts):
            asked.append(list(texts))
            return [torch.logit(torch.tensor(p, dtype=torch.float64)).item() for p in (0.5, 0.25, 0.8)][: len(texts)]

    spec = parse_grader({"type": "process", "model": "m", "prompt": "Q", "aggregate": aggregate})
    result = grade(spec, Fixed(), "one\n\ntwo\nstill two\n \n\nthree\n")
    assert result.score == pytest.approx(expected)
    assert asked == [["Q\n\none", "Q\n\none\n\ntwo\nstill two", "Q\n\none\n\ntwo\nstill two\n\nthree"]]
    assert result.notes["steps"] == pytest.approx([0.5, 0.25, 0.8])


def test_an_empty_answer_has_no_steps_and_no_worth(scorer) -> None:
    spec = parse_grader({"type": "process", "model": "mine"})
    assert (grade(spec, scorer, " \n\n ").score, grade(spec, scorer, "1 yes").errors.raised()) == (0.0, ())


def test_steps_beyond_the_limit_are_one() -> None:
    class Counts:
        def score(self, model, texts):
            return [float(len(texts))] * len(texts)

    spec = parse_grader({"type": "process", "model": "m", "max_steps": 3})
    assert len(grade(spec, Counts(), "a\n\nb\n\nc\n\nd\n\ne").notes["steps"]) == 3


@pytest.mark.parametrize(
    ("model", "words"),
    [("other", "the catalogue has base, gone, mine"), ("gone", "does not exist"), ("base", "score.weight is missing")],
)
def test_a_model_that_cannot_be_used_fails_the_grade_with_its_reason(scorer, model: str, words: str) -> None:
    result = grade(parse_grader({"type": "reward_model", "model": model}), scorer, "x")
    assert (result.score, result.errors.raised()) == (None, ("model_grader_server_error",))
    assert words in result.errors.model_grader_server_error_details


def test_pickled_weights_are_not_loaded(tmp_path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((TINY / name).read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(RewardModelError, match=r"cannot be loaded|no file named"):
        RewardModel.load(tmp_path)


def test_a_head_of_several_outputs_is_no_reward_model(trained, tmp_path) -> None:
    from transformers import AutoModelForSequenceClassification

    AutoModelForSequenceClassification.from_pretrained(TINY, num_labels=3).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((TINY / name).read_bytes())
    with pytest.raises(RewardModelError, match="3 outputs"):
        RewardModel.load(tmp_path)


def test_the_runner_grades_with_it(scorer) -> None:
    with InProcessGraderRunner(reward_model(), Services(scorer=scorer)) as runner:
        grades = runner.submit({"messages": []}, [Sample("1 yes"), Sample("1 no")])()
    assert grades[0].score > grades[1].score


def test_only_graded_completions_of_training_rows_are_learned_from(job) -> None:
    examples = read_examples(job[0], [job[1]], kind="outcome", prompt="Q", input="{{sample.output_text}}")
    assert len(examples) == 160
    assert {example.reward for example in examples} == {0.0, 1.0}
    assert examples[0].texts[0].startswith("Q\n\n")


def test_a_process_model_learns_from_the_beginnings_of_answers(job, tmp_path) -> None:
    records = [
        {"source": "training_file", "row": 0, "text": "a\n\nb", "reward": 2.0},
        {"source": "training_file", "row": 1, "text": "c", "reward": -2.0},
        {"source": "training_file", "row": 2, "text": "d", "reward": 1.0},
    ]
    path = write_rollouts(tmp_path / "r.parquet", records)
    examples = read_examples(job[0], [path], kind="process", prompt="Q")
    assert [one.texts for one in examples] == [("Q\n\na", "Q\n\na\n\nb"), ("Q\n\nc",), ("Q\n\nd",)]
    assert [one.reward for one in examples] == [1.0, 0.0, 0.75]  # between the lowest, -2, and the highest, 2


@pytest.fixture(scope="module")
def judge_of_steps(job, tmp_path_factory) -> TorchScorer:
    """A process model that only ever learned how whole answers of three steps were graded: one "no" spoils them."""
    draw, records = random.Random(1), []
    for row in range(40):
        for _ in range(6):
            words = [draw.choice(["yes", "yes", "yes", "no"]) for _ in range(3)]
            text = "\n\n".join(f"{draw.randrange(100)} {word}" for word in words)
            records.append({"source": "training_file", "row": row, "text": text, "reward": float("no" not in words)})
    folder = tmp_path_factory.mktemp("process")
    examples = read_examples(job[0], [write_rollouts(folder / "r.parquet", records)], kind="process", prompt="Q")
    torch.manual_seed(0)
    model = RewardModel.load(TINY, new_head=True)
    train_reward_model(model, examples, steps=50, lr=1e-3, tell=lambda _: None)
    model.save(folder / "prm")
    return TorchScorer({"prm": folder / "prm"})


def test_a_process_model_finds_the_bad_step_in_answers_it_never_saw(judge_of_steps) -> None:
    """No step was ever labelled. Numbers from 100 are new; which of the three steps is the bad one varies."""
    spec = parse_grader({"type": "process", "model": "prm", "prompt": "Q"})
    found = good = 0
    for number in range(30):
        bad = number % 3
        words = ["no" if step == bad else "yes" for step in range(3)]
        answer = "\n\n".join(f"{100 + 7 * number + step} {word}" for step, word in enumerate(words))
        result = grade(spec, judge_of_steps, answer)
        drops = [before - after for before, after in pairwise([1.0, *result.notes["steps"]])]
        found += drops.index(max(drops)) == bad
        good += grade(spec, judge_of_steps, answer.replace("no", "yes")).score > result.score
    assert found >= 27  # 10 by chance
    assert good == 30


def test_rollouts_that_teach_nothing_are_refused(job, tmp_path) -> None:
    record = {"source": "training_file", "row": 0, "text": "a", "reward": 1.0}
    path = write_rollouts(tmp_path / "r.parquet", [record] * 3)
    with pytest.raises(NoExamplesError, match="3 graded completions with 1 different rewards"):
        read_examples(job[0], [path], kind="outcome")
    with pytest.raises(GradeFailure, match=r"row 0: .*item\.nothing"):
        read_examples(job[0], [path], kind="outcome", prompt="{{item.nothing}}")


def test_pairs_count_within_a_row_and_ties_count_half() -> None:
    examples = [Example(1, ("",), 1.0), Example(1, ("",), 0.0), Example(1, ("",), 0.0), Example(2, ("",), 0.0)]
    assert pair_accuracy([0.9, 0.1, 0.9, 5.0], examples) == 0.75  # (0.9, 0.1) right, (0.9, 0.9) a tie
    assert pair_accuracy([], []) is None
