"""The main job from upload to served model, by the official client, in both ways of running Fettle."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import openai
import pytest

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
DATA = ROOT / "examples" / "demo"
WALK = Path(__file__).with_name("official_client_walk.py")
OLD_CLIENT = ROOT / ".venv" / "openai-1x"


def walk(platform, *, python_path=None):
    environment = os.environ | ({"PYTHONPATH": str(python_path)} if python_path else {})
    command = [sys.executable, str(WALK), platform.base_url, platform.api_key, str(DATA)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def check(seen):
    assert seen["first_status"] == "validating_files"
    assert seen["grade"] == 1.0
    job = seen["job"]
    assert job["status"] == "succeeded", job["error"]
    assert job["fettle"]["verdict"] in ("improved", "no_measurable_gain")
    assert seen["fine_tuned_model"].startswith("ft:fettle-tiny:fettle:walk:")
    assert seen["event_types"] == ["message", "metrics"]
    assert seen["metric_steps"] == [0, 1, 2, 3, 4, 5, 6], "step 0 is the base, evaluated"
    assert 1 <= len(seen["checkpoints"]) <= 4
    assert seen["csv_header"] == ["step", "train_mean_reward", "full_valid_mean_reward"]
    assert seen["csv_rows"] == 7
    assert seen["n"] == [True, True, True]
    assert {"fettle-tiny", seen["fine_tuned_model"]} <= set(seen["models"])
    assert seen["retrieved"] == seen["fine_tuned_model"]


def test_the_official_client_runs_the_whole_job_embedded_and_takes_the_weights_away(embedded, tmp_path):
    platform = embedded()
    seen = walk(platform)
    assert seen["openai"].startswith("3.")
    check(seen)

    archive = httpx.get(
        f"{platform.base_url}/fettle/models/{seen['fine_tuned_model']}/adapter",
        headers={"Authorization": f"Bearer {platform.api_key}"},
    )
    zipfile.ZipFile(io.BytesIO(archive.content)).extractall(tmp_path / "adapter")
    assert answer_with_plain_peft(tmp_path / "adapter", "What is 12 + 30?") == seen["answer"]

    client = openai.OpenAI(base_url=platform.base_url, api_key=platform.api_key)
    assert client.models.delete(seen["fine_tuned_model"]).deleted
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=seen["fine_tuned_model"], messages=[{"role": "user", "content": "hi"}])


def answer_with_plain_peft(adapter, question):
    """What transformers and peft alone make of the base folder and the downloaded adapter, greedily."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = ROOT / "workers" / "fettle_workers" / "base_models" / "fettle-tiny"
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype="float32"), adapter).eval()
    messages = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, max_new_tokens=64, do_sample=False)
    text = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return text.split("</think>")[-1].strip()


def test_the_whole_job_on_postgresql_redis_and_s3_with_an_older_client(separate, redis_url):
    platform = separate(redis_url)
    seen = walk(platform, python_path=OLD_CLIENT)
    assert seen["openai"].startswith("1.")
    check(seen)


def test_the_whole_job_on_rabbitmq(separate, rabbitmq_url):
    check(walk(separate(rabbitmq_url)))
