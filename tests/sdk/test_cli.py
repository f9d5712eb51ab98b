"""The command line: what goes to which stream, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
import warnings
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from fettle.cli import plugins
from fettle.cli.app import OWN, app

ROW = '{"messages": [{"role": "user", "content": "1+1"}], "answer": "2"}\n'
CONFIG = """
model = "tiny"
data = "train.jsonl"
suffix = "sums"
grader = {type = "math", name = "math", reference = "{{item.answer}}"}

[hyperparameters]
n_epochs = 3
"""


@pytest.fixture
def fettle(wire, monkeypatch: pytest.MonkeyPatch):
    """Runs the command against the small server."""
    monkeypatch.setenv("FETTLE_API_KEY", "fk_test")
    monkeypatch.setenv("FETTLE_BASE_URL", wire.url)

    def run(*arguments: str, input: str | None = None):
        return CliRunner().invoke(app, list(arguments), input=input)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.jsonl").write_text(ROW)
    (tmp_path / "job.toml").write_text(CONFIG)
    return tmp_path


def test_a_list_is_a_table_json_json_lines_or_ids(fettle, wire, shapes) -> None:
    wire.on("GET", "/v1/fine_tuning/jobs", shapes.page(shapes.job("running"), shapes.job("queued", id="ftjob-22")))
    table = fettle("jobs", "list")
    assert table.exit_code == 0
    assert table.stdout == (
        "id        status   model  fine_tuned_model  created_at\n"
        "ftjob-1   running  tiny                     2026-09-21 14:13 UTC\n"
        "ftjob-22  queued   tiny                     2026-09-21 14:13 UTC\n"
    )
    assert [job["id"] for job in json.loads(fettle("jobs", "list", "--json").stdout)] == ["ftjob-1", "ftjob-22"]
    lines = fettle("jobs", "list", "-o", "jsonl").stdout.splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["running", "queued"]
    assert fettle("jobs", "list", "-q").stdout == "ftjob-1\nftjob-22\n"
    assert wire.requests[0].path == "/v1/fine_tuning/jobs?limit=20"


def test_a_job_with_a_multi_grader_is_shown_without_complaints_of_the_client(fettle, wire, shapes) -> None:
    """Its types take the map of graders for something else, and say so when it is written as JSON."""
    right = {"type": "math", "name": "math", "reference": "{{item.answer}}"}
    grader = {"type": "multi", "name": "multi", "graders": {"right": right}, "calculate_output": "right"}
    method = {"type": "reinforcement", "reinforcement": {"grader": grader, "hyperparameters": {}}}
    wire.on("GET", "/v1/fine_tuning/jobs/ftjob-1", shapes.job("running", method=method))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = fettle("jobs", "get", "ftjob-1", "--json")
    assert json.loads(shown.stdout)["method"] == method


def test_dry_run_prints_the_request_and_sends_nothing(folder: Path, wire) -> None:
    result = CliRunner().invoke(
        app, ["jobs", "create", "-c", str(folder / "job.toml"), "--set", "group_size=8", "--dry-run"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "model": "tiny",
        "training_file": f"<upload of {folder / 'train.jsonl'}>",
        "suffix": "sums",
        "method": {
            "type": "reinforcement",
            "reinforcement": {
                "grader": {"type": "math", "name": "math", "reference": "{{item.answer}}"},
                "hyperparameters": {"n_epochs": 3, "group_size": 8},
            },
        },
        "fettle": {"validation_split": 0.2},
    }
    assert wire.requests == []


def test_flags_win_over_the_file(fettle, folder: Path) -> None:
    config = str(folder / "job.toml")
    out = fettle("jobs", "create", "-c", config, "--model", "big", "--validation", "file-v", "--seed", "3", "--dry-run")
    body = json.loads(out.stdout)
    assert (body["model"], body["validation_file"], body["seed"]) == ("big", "file-v", 3)
    assert "fettle" not in body


def test_the_body_of_the_wire_is_a_config_too(fettle, tmp_path: Path) -> None:
    method = {"type": "reinforcement", "reinforcement": {"grader": {"type": "math", "reference": "1"}}}
    body = {"model": "tiny", "training_file": "file-a", "validation_file": "file-b", "method": method, "seed": 1}
    (tmp_path / "job.json").write_text(json.dumps(body))
    assert json.loads(fettle("jobs", "create", "-c", str(tmp_path / "job.json"), "--dry-run").stdout) == body


def test_create_uploads_starts_and_says_how_to_watch(fettle, wire, shapes, folder: Path) -> None:
    wire.on("POST", "/v1/files", shapes.file())
    wire.on("POST", "/v1/fine_tuning/jobs", shapes.job("validating_files"))
    result = fettle("jobs", "create", "-c", str(folder / "job.toml"))
    assert result.exit_code == 0, result.output
    assert result.stdout == "ftjob-1  validating_files\n"
    assert result.stderr.splitlines()[-1] == "watch it: fettle jobs watch ftjob-1"
    assert fettle("jobs", "create", "-c", str(folder / "job.toml"), "-q").output == "ftjob-1\n"


@pytest.mark.parametrize(("status", "code"), [("succeeded", 0), ("failed", 6), ("cancelled", 6)])
def test_watch_exits_with_how_the_job_ended(fettle, wire, shapes, status: str, code: int) -> None:
    model = "ft:tiny:org::1" if status == "succeeded" else None
    wire.on("GET", "/v1/fine_tuning/jobs/ftjob-1", shapes.job(status, fine_tuned_model=model))
    wire.on("GET", "/v1/fine_tuning/jobs/ftjob-1/events", shapes.page(shapes.event(1)))
    result = fettle("jobs", "watch", "ftjob-1")
    assert result.exit_code == code
    assert result.stdout == ("ft:tiny:org::1\n" if status == "succeeded" else "")
    assert "Created" in result.stderr
    events = fettle("jobs", "watch", "ftjob-1", "--json")
    assert [json.loads(line)["id"] for line in events.stdout.splitlines()] == ["ftevent-1"]


def test_a_timeout_has_its_own_exit_code(fettle, wire, shapes) -> None:
    wire.on("GET", "/v1/fine_tuning/jobs/ftjob-1", shapes.job("running"))
    wire.on("GET", "/v1/fine_tuning/jobs/ftjob-1/events", shapes.page())
    result = fettle("jobs", "watch", "ftjob-1", "--timeout", "0")
    assert result.exit_code == 7
    assert "fix: It goes on" in result.stderr


def test_why_explains_and_gives_json(fettle, wire, shapes) -> None:
    summary = {key: value for key, value in shapes.SELECTION.items() if key != "candidates"}
    wire.on("GET", "/v1/fine_tuning/jobs/ftjob-1", shapes.job("succeeded", fettle={"selection": summary}))
    wire.on("GET", "/v1/fettle/fine_tuning/jobs/ftjob-1/selection", shapes.SELECTION)
    assert fettle("jobs", "why", "ftjob-1").stdout.startswith("Improved: step 20")
    assert len(json.loads(fettle("jobs", "why", "ftjob-1", "--json").stdout)["candidates"]) == 2
    wire.on("GET", "/v1/fine_tuning/jobs/ftjob-1", shapes.job("running"))
    assert json.loads(fettle("jobs", "why", "ftjob-1", "--json").stdout)["verdict"] is None


def test_readings_of_a_job(fettle, wire, shapes) -> None:
    base = "/v1/fine_tuning/jobs/ftjob-1"
    wire.on("GET", base, shapes.job("running"))
    metrics = {"step": 1, "train_mean_reward": 0.25, "fettle": {"kl_nats": 0.001}}
    wire.on("GET", base + "/events", shapes.page(shapes.event(1, data=metrics)))
    rollout = {"id": "rollout-1-0", "step": 1, "row": 0, "reward": 1.0, "text": "two\nlines"}
    wire.on("GET", "/v1/fettle/fine_tuning/jobs/ftjob-1/rollouts", shapes.page(rollout))
    checkpoint = {
        "id": "ftckpt_1",
        "step_number": 20,
        "fine_tuned_model_checkpoint": "ft:x:ckpt-step-20",
        "metrics": {},
    }
    wire.on("GET", base + "/checkpoints", shapes.page(checkpoint))
    wire.on("POST", base + "/pause", shapes.job("pausing"))
    assert fettle("jobs", "metrics", "ftjob-1").stdout.splitlines()[1].split() == ["1", "0.25", "0.001"]
    assert fettle("jobs", "rollouts", "ftjob-1").stdout.splitlines()[1].endswith("two lines")
    assert "ft:x:ckpt-step-20" in fettle("jobs", "checkpoints", "ftjob-1").stdout
    assert "info" in fettle("jobs", "events", "ftjob-1").stdout
    assert fettle("jobs", "pause", "ftjob-1").stdout == "ftjob-1  pausing\n"
    assert "status" in fettle("jobs", "get", "ftjob-1").stdout


def test_files_are_checked_offline_and_on_the_server(fettle, wire, shapes, folder: Path) -> None:
    (folder / "bad.jsonl").write_text(ROW + "{oops\n")
    good = fettle("files", "check", str(folder / "train.jsonl"))
    assert (good.exit_code, good.stdout) == (0, f"{folder / 'train.jsonl'}: 1 row, no errors\n")
    bad = fettle("files", "check", str(folder / "bad.jsonl"))
    assert bad.exit_code == 1
    assert "error: line 2: not valid JSON" in bad.stdout
    assert wire.requests == []
    cause = {"message": "the last message should be user", "severity": "warning", "examples": [{"line": 2}]}
    report = {"id": "file-1", "status": "processed", "num_rows": 3, "causes": [cause]}
    wire.on("GET", "/v1/fettle/files/file-1/validation", report)
    remote = fettle("files", "check", "file-1")
    assert remote.exit_code == 0
    assert remote.stdout == (
        "file-1: 3 rows, no errors, 1 kind of warning\n  warning: line 2: the last message should be user\n"
    )


def test_files_go_up_and_away(fettle, wire, shapes, folder: Path) -> None:
    wire.on("POST", "/v1/files", shapes.file("file-9"))
    wire.on("GET", "/v1/files", shapes.page(shapes.file("file-9")))
    wire.on("DELETE", "/v1/files/file-9", {"id": "file-9", "object": "file", "deleted": True})
    assert fettle("files", "upload", str(folder / "train.jsonl"), "-q").stdout == "file-9\n"
    assert "train.jsonl" in fettle("files", "list").stdout
    assert fettle("files", "delete", "file-9").exit_code == 0


def test_graders_are_tried(fettle, wire, tmp_path: Path) -> None:
    grader = {"type": "math", "name": "math", "reference": "{{item.answer}}"}
    (tmp_path / "g.json").write_text(json.dumps(grader))
    wire.on("POST", "/v1/fine_tuning/alpha/graders/validate", {"grader": grader})
    wire.on("POST", "/v1/fine_tuning/alpha/graders/run", {"reward": 1.0, "sub_rewards": {"a": 0.5}, "metadata": {}})
    assert json.loads(fettle("graders", "validate", str(tmp_path / "g.json")).stdout) == grader
    run = fettle("graders", "run", str(tmp_path / "g.json"), "--answer", "2", "--item", '{"answer": "2"}')
    assert run.stdout == "reward 1\n  a 0.5\n"
    wrong = fettle("graders", "run", str(tmp_path / "g.json"), "--answer", "2", "--item", "[1]")
    assert (wrong.exit_code, "must be a JSON object" in wrong.stderr) == (2, True)


def test_chat_streams_the_answer_and_shows_thinking_apart(fettle, wire) -> None:
    deltas = [{"role": "assistant", "reasoning_content": "1+1 is"}, {"content": "2"}, {"content": "!"}]
    chunks = [
        {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
         "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        for delta in deltas
    ]  # fmt: skip
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    wire.on("POST", "/v1/chat/completions", body.encode(), headers={"Content-Type": "text/event-stream"})
    result = fettle("chat", "tiny", "1+1", "--system", "Be brief.", "--temperature", "0")
    assert (result.stdout, result.stderr) == ("2!\n", "1+1 is\n")
    sent = wire.requests[-1].json()
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1"}]
    assert (sent["stream"], sent["temperature"]) == (True, 0)
    assert fettle("chat", "tiny", input="from a pipe").exit_code == 0
    assert wire.requests[-1].json()["messages"] == [{"role": "user", "content": "from a pipe"}]


def test_models_and_whoami(fettle, wire) -> None:
    model = {"id": "tiny", "object": "model", "created": 1790000000, "owned_by": "fettle"}
    wire.on("GET", "/v1/models", {"object": "list", "data": [model]})
    wire.on("GET", "/v1/models/tiny", model)
    assert fettle("models", "list", "-q").stdout == "tiny\n"
    assert "owned_by" in fettle("models", "get", "tiny").stdout
    assert json.loads(fettle("whoami", "--json").stdout)["models"] == 1


def test_every_error_has_a_cause_a_fix_and_the_request_id(fettle, wire, shapes) -> None:
    error = {"message": "The model `x` does not exist.", "type": "invalid_request_error", "param": "model",
             "code": "model_not_found"}  # fmt: skip
    wire.on("GET", "/v1/models/x", {"error": error}, status=404)
    result = fettle("models", "get", "x")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        "error: The model `x` does not exist. (param: model)\n"
        "fix: `fettle models list` shows the models of this server.\n"
        "request id: req_1\n"
    )


def test_a_refused_key_is_exit_code_three(fettle, wire, monkeypatch: pytest.MonkeyPatch) -> None:
    error = {"message": "Incorrect API key", "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}
    wire.on("GET", "/v1/models", {"error": error}, status=401)
    assert fettle("whoami").exit_code == 3
    monkeypatch.delenv("FETTLE_API_KEY")
    missing = fettle("whoami")
    assert missing.exit_code == 3
    assert missing.stderr.startswith("error: no API key: FETTLE_API_KEY is not set\nfix: Export FETTLE_API_KEY")


def test_usage_errors_are_exit_code_two(fettle, tmp_path: Path) -> None:
    assert fettle("jobs", "create", "--model", "tiny").exit_code == 2
    assert fettle("jobs", "create", "--nonsense").exit_code == 2
    assert fettle("files", "upload", "nowhere.jsonl").exit_code == 2
    (tmp_path / "job.toml").write_text("modle = 'x'\n")
    result = fettle("jobs", "create", "-c", str(tmp_path / "job.toml"))
    assert (result.exit_code, "Did you mean 'model'?" in result.stderr) == (2, True)


def test_ctrl_c_is_exit_code_130(fettle, monkeypatch: pytest.MonkeyPatch) -> None:
    from fettle import client

    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client.Fettle, "__init__", interrupted)
    assert fettle("models", "list").exit_code == 130


def test_no_server_says_how_to_start_one_through_a_real_process() -> None:
    command = [sys.executable, "-m", "fettle", "--base-url", "http://127.0.0.1:9/v1", "models", "list"]
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "FETTLE_API_KEY": "k"}, check=False
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        "error: no server answers at http://127.0.0.1:9/v1 ([Errno 111] Connection refused)\n"
        "fix: Start one with `fettle up`, or set FETTLE_BASE_URL to the server's /v1.\n"
    )


def entry_points(monkeypatch: pytest.MonkeyPatch, **found: object) -> None:
    """Pretend that these modules bring verbs."""
    for name, module in found.items():
        monkeypatch.setitem(sys.modules, f"plugin_{name}", module)
    points = [EntryPoint(name, f"plugin_{name}:app", plugins.GROUP) for name in found]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
    plugins._loaded.cache_clear()


@pytest.fixture
def restored_plugins():
    yield
    plugins._loaded.cache_clear()


def test_other_packages_add_verbs_but_never_replace_ours(fettle, monkeypatch, restored_plugins) -> None:
    server = typer.Typer()
    server.command("up")(lambda: print("up!"))
    server.command("chat")(lambda: print("not ours"))
    entry_points(monkeypatch, server=types.SimpleNamespace(app=server))
    assert fettle("up").stdout == "up!\n"
    assert "not ours" not in fettle("chat", "--help").stdout
    help = fettle("--help").stdout
    assert help.index("Commands:") < help.index("Server:") < help.index("up")


def test_a_broken_plugin_breaks_nothing_but_itself(fettle, monkeypatch, restored_plugins) -> None:
    entry_points(monkeypatch, server=types.SimpleNamespace())
    assert fettle("version").exit_code == 0
    assert "jobs" in fettle("--help").stdout
    result = fettle("up")
    assert result.exit_code == 2
    assert "the verbs of 'plugin_server:app' could not be loaded: AttributeError" in result.stderr


def test_an_unknown_verb_gets_a_hint(fettle, monkeypatch, restored_plugins) -> None:
    entry_points(monkeypatch)
    assert "Did you mean `fettle jobs`?" in fettle("job").stderr
    assert "pip install fettle-server" in fettle("serve").stderr


def test_client_verbs_do_not_look_for_plugins(fettle, monkeypatch, restored_plugins) -> None:
    def looked(group: str) -> None:
        raise AssertionError("entry points were looked up")

    monkeypatch.setattr("importlib.metadata.entry_points", looked)
    plugins._loaded.cache_clear()
    assert fettle("version").exit_code == 0
    assert fettle("jobs", "--help").exit_code == 0


def test_the_lines_of_the_root_help_are_those_of_the_verbs(fettle) -> None:
    for name, (_, line) in OWN.items():
        assert line in " ".join(fettle(name, "--help").stdout.split()), name
