from __future__ import annotations

import asyncio
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import openai
import pytest

from fettle import AsyncFettle, Fettle, FettleError, InvalidData, JobFailed, MissingApiKey

GRADER = {"type": "math", "name": "math", "reference": "{{item.answer}}"}
ROWS = [{"messages": [{"role": "user", "content": "1+1"}], "answer": "2"}]


def test_a_missing_key_names_the_variable() -> None:
    with pytest.raises(MissingApiKey, match="FETTLE_API_KEY is not set"):
        Fettle()
    with pytest.raises(openai.OpenAIError, match="FETTLE_API_KEY"):
        AsyncFettle()


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETTLE_API_KEY", "fk_env")
    assert str(Fettle().base_url) == "http://127.0.0.1:8000/v1/"
    monkeypatch.setenv("FETTLE_BASE_URL", "http://gpu:9/v1")
    client = Fettle()
    assert (str(client.base_url), client.api_key) == ("http://gpu:9/v1/", "fk_env")


@pytest.mark.filterwarnings("ignore:Retrieve is deprecated")  # 1.x has no other name for it
def test_nothing_of_an_openai_account_is_sent(wire, shapes, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "secret-of-openai")
    wire.on("GET", "/v1/models", {"object": "list", "data": []})
    wire.on("GET", "/v1/fine_tuning/checkpoints/ckpt/permissions", shapes.page())
    client = Fettle(base_url=wire.url, api_key="fk_test")
    client.models.list()
    client.fine_tuning.checkpoints.permissions.retrieve("ckpt")
    assert len(wire.requests) == 2
    for request in wire.requests:
        assert "secret-of-openai" not in str(request.headers)
        assert request.headers["authorization"] == "Bearer fk_test"


def test_with_options_keeps_the_class_and_the_server(client: Fettle, wire) -> None:
    other = client.with_options(max_retries=1)
    assert isinstance(other, Fettle)
    assert (str(other.base_url), other.api_key) == (wire.url + "/", "fk_test")


def test_finetune_uploads_then_creates(client: Fettle, wire, shapes) -> None:
    wire.on("POST", "/v1/files", shapes.file("file-new"))
    wire.on("GET", "/v1/fettle/files/file-new/validation", {"num_rows": 1, "causes": []})
    wire.on("POST", "/v1/fine_tuning/jobs", shapes.job("validating_files"))
    seen: list[tuple[int, int]] = []
    job = client.finetune(
        model="tiny", data=ROWS, grader=GRADER, suffix="sums", n_epochs=3,
        progress=lambda sent, total: seen.append((sent, total)),
    )  # fmt: skip
    assert (job.id, job.status) == ("ftjob-1", "validating_files")
    upload = wire.asked("POST", "/v1/files")[0]
    assert b'filename="sums-train.jsonl"' in upload.body
    assert json.dumps(ROWS[0]).encode() in upload.body
    assert b"fine-tune" in upload.body
    size = len(json.dumps(ROWS[0])) + 1
    assert seen[-1] == (size, size)
    create = wire.asked("POST", "/v1/fine_tuning/jobs")[0]
    assert create.json() == {
        "model": "tiny",
        "training_file": "file-new",
        "suffix": "sums",
        "method": {"type": "reinforcement", "reinforcement": {"grader": GRADER, "hyperparameters": {"n_epochs": 3}}},
        "fettle": {"validation_split": 0.2},
    }
    assert len(create.headers["idempotency-key"]) == 36


def test_retries_of_a_creation_carry_the_same_idempotency_key(wire, shapes) -> None:
    error = {"error": {"message": "busy", "type": "server_error", "param": None, "code": None}}
    wire.on(
        "POST", "/v1/fine_tuning/jobs",
        shapes.Answer(error, 503, {"retry-after-ms": "1"}), shapes.Answer(shapes.job()),
    )  # fmt: skip
    client = Fettle(base_url=wire.url, api_key="k", max_retries=1)
    client.finetune(model="tiny", data="file-a", validation="file-b", grader=GRADER)
    first, second = wire.asked("POST", "/v1/fine_tuning/jobs")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.json()["validation_file"] == "file-b"


def test_rows_the_server_refuses_are_shown_by_line(client: Fettle, wire, shapes) -> None:
    cause = {"code": "x", "severity": "error", "path": "messages", "message": "last message must be user", "count": 1,
             "expected": "user", "examples": [{"line": 17, "path": "messages.2", "found": "assistant"}]}  # fmt: skip
    wire.on("POST", "/v1/files", shapes.file("file-bad"))
    wire.on("GET", "/v1/fettle/files/file-bad/validation", {"num_rows": 20, "causes": [cause]})
    with pytest.raises(InvalidData) as caught:
        client.finetune(model="tiny", data=ROWS, grader=GRADER)
    assert "line 17: messages: last message must be user; found assistant; expected user" in str(caught.value)
    assert caught.value.problems[0].lines == [17]
    assert wire.asked("POST", "/v1/fine_tuning/jobs") == []


def test_broken_lines_are_found_before_a_byte_is_sent(client: Fettle, wire, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"messages": [{"role": "user"}]}\n{oops\n')
    with pytest.raises(InvalidData, match=r"rows\.jsonl has rows that cannot be read\n  line 2: not valid JSON"):
        client.finetune(model="tiny", data=file, grader=GRADER)
    assert wire.requests == []


def test_a_server_without_validation_reports_is_fine(client: Fettle, wire, shapes, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(ROWS[0]))
    wire.on("POST", "/v1/files", shapes.file("file-new"))
    assert client.upload(file).id == "file-new"


def test_wait_raises_when_the_job_fails(client: Fettle, wire, shapes, capsys: pytest.CaptureFixture[str]) -> None:
    error = {"code": "no_learning_signal", "message": "all rewards are equal", "param": None}
    wire.on("POST", "/v1/fine_tuning/jobs", shapes.job())
    wire.on("GET", "/v1/fine_tuning/jobs/ftjob-1", shapes.job("failed", error=error))
    wire.on("GET", "/v1/fine_tuning/jobs/ftjob-1/events", shapes.page())
    with pytest.raises(JobFailed, match="no_learning_signal: all rewards are equal") as caught:
        client.finetune(model="tiny", data="file-a", grader=GRADER, wait=True)
    assert (caught.value.status, caught.value.code) == ("failed", "no_learning_signal")
    assert "ftjob-1: failed\nerror: no_learning_signal" in capsys.readouterr().err


def finished(shapes: Any) -> dict[str, Any]:
    summary = {key: value for key, value in shapes.SELECTION.items() if key not in ("candidates", "object")}
    return shapes.job("succeeded", fine_tuned_model="ft:a/b:org::1", fettle={"selection": summary, "phase": "Done."})


def test_a_finished_job_says_what_was_chosen_and_why(client: Fettle, wire, shapes) -> None:
    wire.on("GET", "/v1/fine_tuning/jobs/ftjob-1", finished(shapes))
    wire.on("GET", "/v1/fettle/fine_tuning/jobs/ftjob-1/selection", shapes.SELECTION)
    job = client.fettle.job("ftjob-1")
    assert job.best is not None
    assert (job.best.chosen_step, job.best.gain_low, job.best.improved) == (20, 0.375, True)
    assert job.phase == "Done."
    assert job.why().splitlines()[0].startswith("Improved: step 20")
    assert "> 20" in job.why()
    selection = client.fettle.selection("ftjob-1")
    assert selection is not None
    assert selection.candidates[1].reason == "the best"


def test_a_plan_is_asked_for_with_the_body_of_a_job(client: Fettle, wire) -> None:
    answer = {"object": "fettle.plan", "plan": {"n_epochs": 30}, "reasons": {"n_epochs": "30 passes"}, "warnings": []}
    wire.on("POST", "/v1/fettle/plan", answer)
    job = {"model": "tiny", "training_file": "file-a", "method": {"type": "supervised"}}
    found = client.fettle.plan(job)
    assert (found.plan, found.reasons) == ({"n_epochs": 30}, {"n_epochs": "30 passes"})
    assert wire.requests[-1].json() == job


def test_an_unfinished_job_has_no_model_yet(client: Fettle, wire, shapes) -> None:
    wire.on("GET", "/v1/fine_tuning/jobs/ftjob-1", shapes.job("running"))
    job = client.fettle.job("ftjob-1")
    assert job.best is None
    assert job.why() == "Not decided yet. training"
    with pytest.raises(FettleError, match="has no model: it is running"):
        job.chat("hi")


def test_controls_and_lists(client: Fettle, wire, shapes) -> None:
    base = "/v1/fine_tuning/jobs/ftjob-1"
    wire.on("GET", base, shapes.job("running"))
    wire.on("POST", base + "/pause", shapes.job("pausing"))
    wire.on("POST", base + "/resume", shapes.job("queued"))
    wire.on("POST", base + "/cancel", shapes.job("cancelled"))
    first = shapes.page(shapes.event(3, data=shapes.step_data(2, 0.5)), shapes.event(2, "note"), has_more=True)
    second = shapes.page(shapes.event(1, data=shapes.step_data(1, 0.25)))
    wire.on("GET", base + "/events", first, second, first, second)
    checkpoint = {"id": "ftckpt_1", "created_at": 1, "step_number": 20, "metrics": {},
                  "fine_tuned_model_checkpoint": "ft:x:ckpt-step-20", "fine_tuning_job_id": "ftjob-1"}  # fmt: skip
    wire.on("GET", base + "/checkpoints", shapes.page(checkpoint))
    rollout = {"id": "r1", "step": 3, "row": 0, "text": "2", "reward": 1.0, "sub_rewards": {"exact": 1.0}}
    wire.on("GET", "/v1/fettle/fine_tuning/jobs/ftjob-1/rollouts", shapes.page(rollout, rollout))
    items = [{"row": 0, "mean": None}, {"row": 1, "mean": 1.0}]
    evaluation = {"id": "step-20", "step": 20, "mean": 0.75, "items": items}
    wire.on("GET", "/v1/fettle/fine_tuning/jobs/ftjob-1/evaluations", shapes.page(evaluation))
    job = client.fettle.job("ftjob-1")
    assert [item.mean for item in job.evaluations()[0].items] == [None, 1.0]
    assert [job.pause().status, job.resume().status, job.cancel().status] == ["pausing", "queued", "cancelled"]
    assert job.done
    assert [event.id for event in job.events()] == ["ftevent-1", "ftevent-2", "ftevent-3"]
    assert [row["step"] for row in job.metrics()] == [1, 2]
    assert [each.step_number for each in job.checkpoints()] == [20]
    assert [each.reward for each in job.rollouts(step=3, limit=1)] == [1.0]
    assert wire.requests[-1].path.endswith("/rollouts?step=3&limit=1")


def test_chat_asks_the_tuned_model(client: Fettle, wire, shapes) -> None:
    message = {"role": "assistant", "content": "2", "refusal": None, "reasoning_content": "1+1"}
    completion = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
                  "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}]}  # fmt: skip
    wire.on("GET", "/v1/fine_tuning/jobs/ftjob-1", finished(shapes))
    wire.on("POST", "/v1/chat/completions", completion)
    answer = client.fettle.job("ftjob-1").chat("1+1", temperature=0)
    assert answer.choices[0].message.content == "2"
    assert wire.requests[-1].json() == {
        "model": "ft:a/b:org::1",
        "messages": [{"role": "user", "content": "1+1"}],
        "temperature": 0,
    }


def zipped(**files: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as writer:
        for name, text in files.items():
            writer.writestr(name, text)
    return sink.getvalue()


def test_an_adapter_is_downloaded_and_unpacked(client: Fettle, wire, shapes, tmp_path: Path) -> None:
    wire.on("GET", "/v1/fine_tuning/jobs/ftjob-1", finished(shapes))
    wire.on("GET", "/v1/fettle/models/ft:a%2Fb:org::1/adapter", zipped(adapter_config="{}"),
            headers={"Content-Type": "application/zip"})  # fmt: skip
    target = client.fettle.job("ftjob-1").download(tmp_path / "adapter")
    assert (target / "adapter_config").read_text() == "{}"


def test_graders_are_tried_on_the_server(client: Fettle, wire) -> None:
    wire.on("POST", "/v1/fine_tuning/alpha/graders/validate", {"grader": {**GRADER, "input": "x"}})
    details = {"python_grader_runtime_error": True, "python_grader_runtime_error_details": "boom"}
    answer = {"reward": 0, "sub_rewards": {}, "metadata": {"errors": {**details, "other_error": False}}}
    wire.on("POST", "/v1/fine_tuning/alpha/graders/run", answer)
    assert client.fettle.graders.validate(GRADER)["input"] == "x"
    result = client.fettle.graders.run(GRADER, answer="2", item={"answer": "2"})
    assert result.errors == details
    assert wire.requests[-1].json() == {"grader": GRADER, "model_sample": "2", "item": {"answer": "2"}}


def test_errors_are_the_official_classes_with_the_request_id(client: Fettle) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.fettle.files.validation("file-no")
    assert (caught.value.code, caught.value.request_id) == ("not_found", "req_1")


def test_the_async_twin_does_the_same(async_client: AsyncFettle, wire, shapes, tmp_path: Path) -> None:
    base = "/v1/fine_tuning/jobs/ftjob-1"
    wire.on("POST", "/v1/files", shapes.file("file-new"))
    wire.on("POST", "/v1/fine_tuning/jobs", shapes.job())
    wire.on("GET", base, shapes.job("running"), finished(shapes))
    wire.on("GET", base + "/events", shapes.page(), shapes.page(shapes.event(1, data=shapes.step_data(1, 0.5))))
    wire.on("GET", "/v1/fettle/fine_tuning/jobs/ftjob-1/selection", shapes.SELECTION)
    rollout = {"id": "rollout-1-0", "step": 1, "row": 0}
    wire.on("GET", "/v1/fettle/fine_tuning/jobs/ftjob-1/rollouts", shapes.page(rollout))
    wire.on("GET", base + "/checkpoints", shapes.page())
    wire.on("GET", "/v1/fettle/models/ft:a%2Fb:org::1/adapter", zipped(config="{}"))

    async def go() -> tuple[Any, ...]:
        async with async_client as client:
            job = await client.finetune(model="tiny", data=ROWS, grader=GRADER, n_epochs=2)
            events = [event.id async for event in job.watch(draw=False, poll_s=0.001)]
            await job.wait(draw=False)
            folder = await job.download(tmp_path / "a")
            return events, await job.why(), len(await job.rollouts()), await job.checkpoints(), folder

    events, why, num_rollouts, checkpoints, folder = asyncio.run(go())
    assert events == ["ftevent-1"]
    assert "> 20" in why
    assert (num_rollouts, checkpoints) == (1, [])
    assert (folder / "config").exists()
    assert b"data-train.jsonl" in wire.asked("POST", "/v1/files")[0].body
