"""A two-layer random model on disk, rows for it, and a job around it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from fettle_graders.grade import Grade, GradeErrors
from fettle_graders.spec import parse_grader
from fettle_workers.adapters.checkpoints import LocalCheckpoints
from fettle_workers.adapters.graders import InProcessGraderRunner
from fettle_workers.contract.spec import (
    DataRef,
    ReinforcementHyperparameters,
    ReinforcementMethod,
    TrainSpec,
)
from fettle_workers.engine.data import load_rows
from fettle_workers.engine.model import load_policy, use_threads
from fettle_workers.engine.sampler import TorchSampler
from fettle_workers.engine.start import start_reinforcement

TEMPLATE = (
    "{%- for m in messages -%}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif -%}"
)
# Rewards every answer by its share of the letter "a": dense, so that a random model has something to climb.
LIKES_A = {
    "type": "text_similarity",
    "name": "likes_a",
    "evaluation_metric": "fuzzy_match",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    use_threads(1)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """Qwen3 of two layers, width 32, over bytes; large weights, so that its answers are not all alike."""
    folder = tmp_path_factory.mktemp("model")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=259, hidden_size=32, num_hidden_layers=2, intermediate_size=64, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, tie_word_embeddings=True, max_position_embeddings=128,
        bos_token_id=256, eos_token_id=258, pad_token_id=256,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.4 if "embed" in name else 1.2 / parameter.shape[1] ** 0.5)
    model.generation_config = GenerationConfig(eos_token_id=258, pad_token_id=256)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_policy(model_folder):
    def make(**options):
        return load_policy(model_folder, base_model_id="random", lora_rank=8, **options)

    return make


SETTINGS = {"max_completion_tokens": 12, "group_size": 4, "max_steps": 4, "eval_interval": 2, "eval_samples": 2}


def write_rows(folder: Path, rows: list[dict]) -> DataRef:
    """Put a JSON Lines file where a work folder has its inputs, under the name a spec knows it by."""
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    digest = hashlib.sha256(content).hexdigest()
    (folder / "inputs").mkdir(parents=True, exist_ok=True)
    (folder / "inputs" / digest).write_bytes(content)
    return DataRef(file_id="file-1", key=f"files/{digest}", sha256=digest, size_bytes=len(content))


def simple_rows(num_rows: int, first: int = 0) -> list[dict]:
    return [
        {"messages": [{"role": "user", "content": f"q{number}"}], "answer": "aaaaaaaa"}
        for number in range(first, first + num_rows)
    ]


@pytest.fixture(name="simple_rows")
def _simple_rows():
    return simple_rows


@pytest.fixture(name="write_rows")
def _write_rows():
    return write_rows


class Said:
    """An event sink that remembers."""

    def __init__(self) -> None:
        self.events = []

    def emit(self, event) -> None:
        self.events.append(event)

    def of(self, kind: str) -> list:
        return [event for event in self.events if event.type == kind]


class Letters:
    """A grader's runner: how much of the answer is lower-case letters. Dense and easy to climb."""

    needs_group = False

    def submit(self, item, samples):
        grades = [Grade(self.score(sample.output_text), GradeErrors()) for sample in samples]
        return lambda: grades

    def score(self, text):
        return sum("a" <= char <= "z" for char in text) / max(1, len(text))


@pytest.fixture
def letters():
    return Letters()


class NoWish:
    def poll(self):
        return None


@pytest.fixture
def make_job(tmp_path, make_policy):
    """Everything `train` takes, on a random model in a fresh work folder; call again to resume in the same folder."""

    def make(
        *,
        rows=None,
        validation=None,
        grader=LIKES_A,
        graders=None,
        control=None,
        resume=False,
        work=None,
        step0=None,
        step0_ref=None,
        **asked,
    ):
        work = work or tmp_path / "work"
        asked = {
            "max_completion_tokens": 12,
            "group_size": 4,
            "max_steps": 4,
            "eval_interval": 2,
            "eval_samples": 2,
        } | asked
        spec = TrainSpec(
            job_id="job",
            base_model="random",
            method=ReinforcementMethod(
                grader=parse_grader(grader), hyperparameters=ReinforcementHyperparameters(**asked)
            ),
            seed=7,
            training_file=write_rows(work, rows or simple_rows(4)),
            validation_file=write_rows(work, validation or simple_rows(6, 100)),
            step0=step0_ref,
        )
        policy = make_policy(seed=spec.seed)
        events, checkpoints = Said(), LocalCheckpoints(work)
        job, source = start_reinforcement(
            spec,
            load_rows(spec, work / "inputs"),
            policy=policy,
            sampler=TorchSampler(policy),
            graders=graders or InProcessGraderRunner(spec.method.grader),
            checkpoints=checkpoints,
            events=events,
            control=control or NoWish(),
            resume_from=checkpoints.newest() if resume else None,
            step0=step0,
        )
        return job, source, events

    return make
