"""The model server through the official client, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import torch
import uvicorn
from peft import PeftModel
from transformers import AutoModelForCausalLM

from fettle_workers.adapters.scorer import RewardModel, TorchScorer
from fettle_workers.contract.catalogue import BaseModelEntry
from fettle_workers.engine.model import Policy, load_policy
from fettle_workers.engine.sampler import Decoder
from fettle_workers.serving.app import create_app
from fettle_workers.serving.models import Models
from fettle_workers.serving.plans import Plans
from fettle_workers.serving.scheduler import Scheduler
from fettle_workers.serving.scoring import Scoring
from fettle_workers.store import BlobStore, open_store

LETTERS = {str(token): 40 for token in range(64, 90)}  # a to z: makes random models write text
NO_THINKING = {"259": -100}
MESSAGES = [{"role": "user", "content": "Say something"}]


@dataclass
class Running:
    url: str
    http: httpx.Client
    store: BlobStore
    models: Models
    base: Path
    policy: Policy
    adapter: Path
    adapter_name: str


def put_adapter(store: BlobStore, folder: Path, digest: str, *, base_model: str = "small") -> None:
    files = {}
    for path in folder.iterdir():
        blob = store.put(f"adapters/{digest}/{path.name}", path.read_bytes())
        files[path.name] = {"size_bytes": blob.size_bytes, "sha256": blob.sha256}
    manifest = json.dumps({"base_model": base_model, "files": files})
    store.put(f"adapters/{digest}/manifest.json", manifest.encode())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model_folder, wake) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    base = model_folder("qwen3")
    policy = load_policy(base, base_model_id="small", seed=3)
    wake(policy, scale=0.2)
    digest = policy.save_adapter(folder / "adapter")
    store = open_store(f"file://{folder}/store")
    put_adapter(store, folder / "adapter", digest)
    scheduler = Scheduler()
    catalogue = {"small": BaseModelEntry(source=str(base)), "mamba": BaseModelEntry(source=str(model_folder("mamba")))}
    models = Models(catalogue, store, folder / "cache")
    RewardModel.load(base, new_head=True).save(folder / "reward")
    scoring = Scoring(TorchScorer({"mine": folder / "reward", "gone": folder / "nowhere"}))
    app = create_app(models, scheduler, Plans(store), scoring)
    uvicorn_server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=uvicorn_server.run, daemon=True)
    thread.start()
    while not uvicorn_server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = uvicorn_server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, timeout=30) as http:
        yield Running(url, http, store, models, base, policy, folder / "adapter", f"ft-{digest}")
    uvicorn_server.should_exit = True
    thread.join()


def plain_greedy_answer(server: Running, adapter: Path | None, num_tokens: int) -> str:
    """What transformers and PEFT say when they load the same folders by themselves."""
    model = AutoModelForCausalLM.from_pretrained(server.base, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    ids = torch.tensor([server.policy.chat.render(MESSAGES)])
    found = model.eval().generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=num_tokens, do_sample=False
    )
    return server.policy.chat.parse(found[0, ids.shape[1] :].tolist()).text


def ask(server: Running, **fields) -> httpx.Response:
    body = {"model": "small", "messages": MESSAGES, "max_tokens": 24, "seed": 5} | fields
    return server.http.post("/v1/chat/completions", json=body)


def answer(server: Running, **fields) -> dict:
    response = ask(server, **fields)
    assert response.status_code == 200, response.text
    return response.json()


def stream(server: Running, **fields) -> list[dict]:
    """The chunks of a stream; the last frame must be [DONE]."""
    lines = [line for line in ask(server, stream=True, **fields).text.split("\n\n") if line]
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def text_of(chunks: list[dict], index: int = 0, field: str = "content") -> str:
    choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get(field) or "" for choice in choices)


@pytest.mark.parametrize("tuned", [False, True])
def test_greedy_answer_is_that_of_plain_transformers_and_peft(server, tuned):
    model = server.adapter_name if tuned else "small"
    found = answer(server, model=model, temperature=0)["choices"][0]["message"]["content"]
    expected = plain_greedy_answer(server, server.adapter if tuned else None, 24)
    assert len(expected) > 3
    assert found == expected


def test_adapter_answers_differently_than_its_base(server):
    answers = [answer(server, model=model, temperature=0) for model in ("small", server.adapter_name)]
    assert answers[0]["choices"][0]["message"]["content"] != answers[1]["choices"][0]["message"]["content"]


def test_completion_has_the_shape_of_the_wire(server):
    found = answer(server, max_tokens=5, logit_bias={"258": -100, "256": -100})
    num_prompt_tokens = len(server.policy.chat.render(MESSAGES))
    assert found["id"].startswith("chatcmpl-")
    assert (found["object"], found["model"]) == ("chat.completion", "small")
    [choice] = found["choices"]
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "length", None)
    assert choice["message"]["role"] == "assistant"
    usage = found["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (num_prompt_tokens, 5)
    assert usage["total_tokens"] == num_prompt_tokens + 5


def test_same_seed_same_answers_and_choices_differ(server):
    first, second = answer(server, n=3), answer(server, n=3)
    texts = [choice["message"]["content"] for choice in first["choices"]]
    assert texts == [choice["message"]["content"] for choice in second["choices"]]
    assert len(set(texts)) == 3


def test_stream_says_the_same_as_the_whole_answer(server):
    whole = answer(server, n=2, max_tokens=40)
    chunks = stream(server, n=2, max_tokens=40, stream_options={"include_usage": True})
    for index in range(2):
        assert text_of(chunks, index) == whole["choices"][index]["message"]["content"]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]
    assert sorted(reasons) == sorted(choice["finish_reason"] for choice in whole["choices"])


def test_official_client_reads_the_stream(server):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        parts = client.chat.completions.create(model="small", messages=MESSAGES, max_tokens=12, seed=5, stream=True)
        text = "".join(part.choices[0].delta.content or "" for part in parts)
    assert text == answer(server, max_tokens=12)["choices"][0]["message"]["content"]


def test_stop_string_over_several_tokens_ends_the_answer_before_it(server):
    full = answer(server, logit_bias=LETTERS)["choices"][0]["message"]["content"]
    stop = full[4:7]
    expected = full[: full.index(stop)]
    [choice] = answer(server, logit_bias=LETTERS, stop=["never in it", stop])["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (expected, "stop")
    assert text_of(stream(server, logit_bias=LETTERS, stop=stop)) == expected


def test_logprobs_are_those_of_the_model(server):
    [choice] = answer(server, max_tokens=3, temperature=0, logprobs=True, top_logprobs=2)["choices"]
    entries = choice["logprobs"]["content"]
    ids = server.policy.chat.render(MESSAGES)
    with server.policy.reference(), torch.no_grad():
        expected = server.policy.logits(torch.tensor([ids]), torch.ones(1, len(ids)))[0, -1].log_softmax(-1)
    assert entries[0]["logprob"] == pytest.approx(float(expected.max()), abs=1e-4)
    assert [top["logprob"] for top in entries[0]["top_logprobs"]] == pytest.approx(
        expected.topk(2).values.tolist(), abs=1e-4
    )
    assert (
        b"".join(bytes(entry["bytes"]) for entry in entries).decode("utf-8", "replace") == choice["message"]["content"]
    )


def test_logit_bias_decides_the_token(server):
    [choice] = answer(server, max_tokens=4, temperature=0, logit_bias={"32": 100})["choices"]
    assert choice["message"]["content"] == server.policy.chat.decode([32]) * 4


def test_presence_penalty_forbids_repeating(server):
    bias = {str(token): 100 for token in range(32, 36)}  # only these four can win
    [choice] = answer(server, max_tokens=4, temperature=0, logit_bias=bias, presence_penalty=2)["choices"]
    plain = answer(server, max_tokens=4, temperature=0, logit_bias=bias)["choices"][0]["message"]["content"]
    assert len(set(choice["message"]["content"])) >= len(set(plain))


def test_json_schema_is_enforced(server):
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 99}, "ok": {"type": "boolean"}},
        "required": ["age", "ok"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    for seed in range(4):
        fields = {"response_format": form, "max_tokens": 120, "logit_bias": NO_THINKING}
        [choice] = answer(server, seed=seed, temperature=1.5, **fields)["choices"]
        assert choice["finish_reason"] == "stop"
        found = json.loads(choice["message"]["content"])
        assert set(found) == {"age", "ok"}
        assert 0 <= found["age"] <= 99
        assert isinstance(found["ok"], bool)


def test_schema_that_cannot_be_enforced_is_refused(server):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
    error = ask(server, response_format=form).json()["error"]
    assert error["param"] == "response_format"
    assert "nonsense" in error["message"]


def test_required_tool_is_called(server):
    parameters = {"type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}, "required": ["city"]}
    parameters["additionalProperties"] = False
    tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    fields = {"tools": tools, "tool_choice": "required", "max_tokens": 150, "logit_bias": NO_THINKING}
    [choice] = answer(server, **fields)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    [call] = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"])["city"] in ("Rome", "Oslo")
    deltas = [choice["delta"] for chunk in stream(server, **fields) for choice in chunk["choices"]]
    [streamed] = [delta["tool_calls"] for delta in deltas if "tool_calls" in delta]
    assert streamed[0]["function"] == call["function"]


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"model": "ft-" + "0" * 64}, 404, "model_not_found", "model"),
        ({"model": "../../etc"}, 404, "model_not_found", "model"),
        ({"messages": [{"role": "user", "content": "x" * 600}]}, 400, "context_length_exceeded", "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, 400, "invalid_value", "messages[0].role"),
        ({"messages": []}, 400, "invalid_value", "messages"),
        ({"temperature": 3}, 400, "invalid_value", "temperature"),
        ({"top_logprobs": 2}, 400, "invalid_value", None),
        ({"stop": list("abcde")}, 400, "invalid_value", "stop"),
        ({"logit_bias": {"9999": 1}}, 400, "invalid_value", "logit_bias"),
        ({"n": 1000}, 400, "invalid_value", "n"),
        ({"modalities": ["audio"]}, 400, "invalid_value", None),
    ],
)
def test_bad_requests_are_told_in_the_envelope(server, fields, status, code, param):
    response = ask(server, **fields)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param), error
    assert set(error) == {"message", "type", "param", "code"}


def test_missing_field_bad_json_and_unknown_route(server):
    assert server.http.post("/v1/chat/completions", json={"model": "small"}).json()["error"]["param"] == "messages"
    assert server.http.post("/v1/chat/completions", content=b"{").json()["error"]["code"] == "invalid_json"
    assert server.http.get("/v1/nothing").json()["error"]["code"] == "not_found"
    assert server.http.get("/v1/chat/completions").status_code == 405


def test_lists_its_models_and_its_health(server):
    assert [model["id"] for model in server.http.get("/v1/models").json()["data"]] == ["mamba", "small"]
    assert server.http.get("/healthz").json() == {"status": "ok", "running": 0, "waiting": 0}


def test_requests_at_the_same_time_get_what_they_get_alone(server):
    alone = [answer(server, seed=seed, model=model) for seed in (1, 2) for model in ("small", server.adapter_name)]

    async def together() -> list[dict]:
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
            bodies = [
                {"model": model, "messages": MESSAGES, "max_tokens": 24, "seed": seed}
                for seed in (1, 2)
                for model in ("small", server.adapter_name)
            ]
            found = await asyncio.gather(*(http.post("/v1/chat/completions", json=body) for body in bodies))
            return [response.json() for response in found]

    pairs = zip(alone, asyncio.run(together()), strict=True)
    assert all(one["choices"] == other["choices"] for one, other in pairs)


def test_failure_while_decoding_is_told_and_does_not_last(server, monkeypatch):
    calls, step = iter(range(100)), Decoder.step

    def failing(decoder):
        if next(calls) % 6 == 5:
            raise MemoryError("no memory left")
        return step(decoder)

    monkeypatch.setattr(Decoder, "step", failing)
    fields = {"logit_bias": LETTERS, "model": "small"}
    response = ask(server, stream=True, **fields)
    frames = [json.loads(line.removeprefix("data: ")) for line in response.text.split("\n\n") if line]
    assert response.status_code == 200
    # Steps 1 to 5 make a token each; the sixth fails.
    assert len(text_of(frames[:-1])) == 5
    assert frames[-1]["error"]["type"] == "server_error"
    assert "memory" not in frames[-1]["error"]["message"], "what happened inside is for the log"
    assert ask(server, **fields).json()["error"]["type"] == "server_error"
    monkeypatch.undo()
    assert len(answer(server, **fields)["choices"][0]["message"]["content"]) == 24


def wait_until_idle(server: Running) -> None:
    for _ in range(500):
        if server.http.get("/healthz").json() == {"status": "ok", "running": 0, "waiting": 0}:
            return
        time.sleep(0.01)
    pytest.fail("the server still decodes for a client that went away")


@pytest.mark.parametrize("streams", [True, False])
def test_decoding_stops_when_the_client_goes_away(server, streams):
    # Mamba has no longest context, so without a client this would go on for hours.
    body = {"model": "mamba", "messages": MESSAGES, "n": 8, "stream": streams, "max_tokens": 10_000_000}
    body["logit_bias"] = {"258": -100, "256": -100}
    if streams:
        with server.http.stream("POST", "/v1/chat/completions", json=body) as response:
            next(response.iter_lines())
    else:
        with pytest.raises(httpx.ReadTimeout):
            server.http.post("/v1/chat/completions", json=body, timeout=0.3)
    wait_until_idle(server)
    assert answer(server)["choices"]


def test_reward_models_score_texts_as_they_do_in_a_trainer(server: Running) -> None:
    texts = ["a short one", "a longer one, with more to read", ""]
    reply = server.http.post("/fettle/scores", json={"model": "mine", "texts": texts}).json()
    direct = TorchScorer({"mine": server.adapter.parent / "reward"}).score("mine", texts)
    assert reply == {"scores": pytest.approx(direct), "fault": None}
    assert len(set(direct)) == 3


@pytest.mark.parametrize(("model", "words"), [("gone", "does not exist"), ("other", "the catalogue has gone, mine")])
def test_a_reward_model_that_cannot_be_used_is_an_answer_with_its_reason(server, model: str, words: str) -> None:
    reply = server.http.post("/fettle/scores", json={"model": model, "texts": ["x"]}).json()
    assert reply["scores"] == []
    assert reply["fault"]["flag"] == "model_grader_server_error"
    assert words in reply["fault"]["message"]


def test_what_this_server_has_not_is_no_model_and_no_crash(server: Running) -> None:
    assert server.http.post("/fettle/embeddings", json={"texts": ["x"]}).status_code == 404
    assert server.http.post("/fettle/scores", json={"model": "mine", "texts": ["x"] * 2000}).status_code == 400
