"""Jobs beside the main one: supervised, continued, on a model of the operator's own, with many epochs of few rows."""

import json
import time
from pathlib import Path

import openai
import pytest

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "demo"
TIMEOUT_S = 240


def client_of(platform):
    return openai.OpenAI(base_url=platform.base_url, api_key=platform.api_key)


def read_rows(name):
    return [json.loads(line) for line in (DEMO / name).read_text().splitlines()]


def upload(client, rows):
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    return client.files.create(file=("rows.jsonl", lines.encode()), purpose="fine-tune").id


def run(client, *, model, method, training, validation, **options):
    """Create a job of these rows and wait for its end."""
    job = client.fine_tuning.jobs.create(
        model=model,
        method={"type": method["type"], method["type"]: {key: method[key] for key in method if key != "type"}},
        training_file=upload(client, training),
        validation_file=upload(client, validation),
        seed=5,
        **options,
    )
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        job = client.fine_tuning.jobs.retrieve(job.id)
        if job.status in ("succeeded", "failed", "cancelled"):
            assert job.status == "succeeded", job.error
            return job
        time.sleep(0.1)
    raise TimeoutError(f"{job.id} is {job.status} after {TIMEOUT_S} s: {job.fettle}")


def reinforcement(grader, **hyperparameters):
    sizes = {"batch_size": 4, "group_size": 4, "eval_samples": 1, "eval_interval": 2, "max_steps": 2}
    return {"type": "reinforcement", "grader": grader, "hyperparameters": sizes | hyperparameters}


def demo_grader():
    return json.loads((DEMO / "grader.json").read_text())


def answered(row):
    """A row of the demo as a demonstration: the answer is the assistant's."""
    return {"messages": [*row["messages"], {"role": "assistant", "content": row["answer"]}]}


def metrics_of(client, job):
    events = client.fine_tuning.jobs.list_events(job.id, limit=100)
    return {event.data["step"]: event.data for event in events if event.type == "metrics"}


def chat(client, model, **options):
    messages = [{"role": "user", "content": "What is 12 + 30?"}]
    return client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=24, **options)


def test_a_supervised_job_learns_and_a_reinforcement_job_goes_on_from_it(embedded):
    client = client_of(embedded())
    train, held_out = read_rows("train.jsonl")[:64], read_rows("validation.jsonl")[:16]
    supervised = run(
        client,
        model="fettle-tiny",
        method={"type": "supervised", "hyperparameters": {"batch_size": 8, "max_steps": 12, "eval_interval": 6}},
        training=[answered(row) for row in train],
        validation=[answered(row) for row in held_out],
        suffix="shown",
    )
    assert supervised.method.type == "supervised"
    assert supervised.hyperparameters.batch_size == 8
    assert supervised.fettle["verdict"] == "improved"
    assert supervised.trained_tokens > 0

    seen = metrics_of(client, supervised)
    assert sorted(seen) == list(range(13))
    assert all(0 <= seen[step]["train_mean_token_accuracy"] <= 1 for step in range(1, 13))
    assert [step for step in seen if "valid_loss" in seen[step]] == [12, 6, 0]
    assert seen[12]["valid_loss"] < seen[0]["valid_loss"]
    assert seen[12]["full_valid_loss"] == seen[12]["valid_loss"]
    assert seen[12]["train_loss"] < seen[1]["train_loss"]
    results = client.files.content(supervised.result_files[0]).read().decode().splitlines()
    assert results[0].startswith("step,train_loss,train_mean_token_accuracy,valid_loss,valid_mean_token_accuracy")
    assert len(results) == 14, "a header and steps 0 to 12"
    assert chat(client, supervised.fine_tuned_model).choices[0].message.content

    continued = run(
        client,
        model=supervised.fine_tuned_model,
        method=reinforcement(demo_grader()),
        training=train,
        validation=held_out,
        suffix="rewarded",
    )
    assert continued.model == supervised.fine_tuned_model
    assert continued.fettle["base_model"] == "fettle-tiny"
    assert continued.fine_tuned_model.startswith("ft:fettle-tiny:fettle:rewarded:")
    starts = client.fine_tuning.jobs.checkpoints.list(continued.id).data[-1]
    assert starts.step_number == 0, "the start is a candidate"
    # Step 0 of the second job is the delivered adapter of the first, so both answer alike.
    before = chat(client, supervised.fine_tuned_model).choices[0].message.content
    assert chat(client, starts.fine_tuned_model_checkpoint).choices[0].message.content == before


def test_eight_rows_and_three_hundred_epochs_are_accepted_and_planned(embedded):
    client = client_of(embedded())
    job = run(
        client,
        model="fettle-tiny",
        method=reinforcement(demo_grader(), n_epochs=300),
        training=read_rows("few.jsonl")[:8],
        validation=read_rows("validation.jsonl")[:8],
    )
    assert job.method.reinforcement.hyperparameters.n_epochs == 300
    plan = job.fettle["plan"]
    assert (plan["num_rows"], plan["n_epochs"], plan["total_steps"]) == (8, 300, 2), "max_steps ends it after 2 of 600"
    assert job.fettle["step"] == 2


@pytest.fixture
def models_file(tmp_path):
    """A catalogue with one more model: a Llama of random weights that speaks in the bundled model's tokens."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(ROOT / "workers" / "fettle_workers" / "base_models" / "fettle-tiny")
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    folder = tmp_path / "random llama"
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    file = tmp_path / "models.toml"
    file.write_text(f'[models."acme/random-llama"]\nsource = "{folder}"\ndescription = "random weights"\n')
    return file


def test_a_model_of_the_catalogue_is_trained_and_served(embedded, models_file):
    client = client_of(embedded(FETTLE_MODELS_FILE=str(models_file)))
    assert "acme/random-llama" in {model.id for model in client.models.list()}
    assert client.models.retrieve("acme/random-llama").owned_by

    # Any two random texts are a little alike, so every group has rewards that differ.
    grader = {
        "type": "text_similarity",
        "name": "alike",
        "evaluation_metric": "fuzzy_match",
        "input": "{{sample.output_text}}",
        "reference": "{{item.reference}}",
    }
    rows = [
        {"messages": [{"role": "user", "content": f"Say {word}."}], "reference": f"the {word} of a summer evening"}
        for word in ("light", "warmth", "wind", "rain", "noise", "smell", "stars", "clouds")
    ]
    job = run(
        client,
        model="acme/random-llama",
        method=reinforcement(grader, max_completion_tokens=16),
        training=rows,
        validation=rows[:4],
    )
    assert job.fine_tuned_model.startswith("ft:acme/random-llama:fettle:")
    seen = metrics_of(client, job)
    assert sorted(seen) == [0, 1, 2]
    assert all(seen[step]["fettle"]["informative_group_share"] > 0.5 for step in (1, 2))
    assert 0 < seen[2]["train_mean_reward"] < 1

    listed = {model.id for model in client.models.list()}
    assert {"fettle-tiny", "acme/random-llama", job.fine_tuned_model} <= listed
    for model in (
        job.fine_tuned_model,
        client.fine_tuning.jobs.checkpoints.list(job.id).data[0].fine_tuned_model_checkpoint,
    ):
        answer = chat(client, model)
        assert answer.model == model
        assert answer.usage.completion_tokens > 0
