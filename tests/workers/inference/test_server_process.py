"""The server as its supervisor starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import httpx
import pytest


@pytest.fixture
def start(tmp_path, model_folder):
    models = tmp_path / "models.toml"
    models.write_text(f'[models."small"]\nsource = "{model_folder("qwen3")}"\n')
    command = [sys.executable, "-m", "fettle_workers.serving", "--port", "0", "--supervised"]
    command += ["--store-url", f"file://{tmp_path}/store", "--models-file", str(models), "--cache-dir", str(tmp_path)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    yield process
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()


def test_says_when_it_is_ready_answers_and_ends_with_its_parent(start):
    ready = json.loads(start.stdout.readline())
    assert ready["ready"] is True
    url = f"http://127.0.0.1:{ready['port']}"
    body = {"model": "small", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert httpx.get(f"{url}/healthz").json()["status"] == "ok"
    start.stdin.close()
    assert start.wait(20) == 0
    assert start.stdout.read() == b""
