"""The examples of the documentation run."""

from __future__ import annotations

import io
import re
import shlex
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import typer

import fettle
from fettle.cli.app import OWN, app

ROOT = Path(__file__).parents[2]
MODEL = "ft:fettle-tiny:acme:sums:1"


def blocks(file: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / file).read_text(), re.DOTALL)


@pytest.fixture
def server(wire, shapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FETTLE_API_KEY", "k")
    monkeypatch.setenv("FETTLE_BASE_URL", wire.url)
    monkeypatch.chdir(tmp_path)
    Path("train.jsonl").write_text('{"messages": [{"role": "user", "content": "1+1"}], "answer": "2"}\n')
    summary = {key: value for key, value in shapes.SELECTION.items() if key != "candidates"}
    message = {"role": "assistant", "content": "5"}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("adapter_config.json", "{}")
    base = "/v1/fine_tuning/jobs"
    wire.on("POST", "/v1/files", shapes.file())
    wire.on("POST", base, shapes.job())
    wire.on("GET", base + "/ftjob-1", shapes.job("succeeded", fine_tuned_model=MODEL, fettle={"selection": summary}))
    wire.on("GET", base + "/ftjob-1/events", shapes.page(shapes.event(1)))
    wire.on("GET", "/v1/fettle/fine_tuning/jobs/ftjob-1/selection", shapes.SELECTION)
    wire.on("POST", "/v1/chat/completions", {"id": "c", "choices": [{"index": 0, "message": message}]})
    wire.on("GET", f"/v1/fettle/models/{MODEL}/adapter", archive.getvalue())
    return wire


def test_the_first_example_of_the_sdk_runs(server, capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks("docs/sdk.md", "python")[0], {})
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("Improved: step 20")
    assert out[-1] == "5"
    assert Path("sums-adapter/adapter_config.json").exists()


def test_the_other_python_examples_run(server) -> None:
    look = {"id": "preflight-1", "status": "succeeded", "model": "m", "training_file": "file-tr", "verdict": "ready"}
    server.on("POST", "/v1/fettle/preflight", look)
    server.on("GET", "/v1/fettle/preflight/preflight-1", look)
    preflight, building, decorated = blocks("docs/sdk.md", "python")[1:]
    scope: dict[str, Any] = {"client": fettle.Fettle()}
    exec(building, scope)
    assert scope["total"]["type"] == "multi"
    exec(preflight, scope)
    assert server.asked("POST", "/v1/fine_tuning/jobs")[0].json()["fettle"]["preflight_id"] == "preflight-1"
    Path("brief.py").write_text(decorated)  # on disk, because a function's source is read from its file
    exec(compile(decorated, str(Path("brief.py").resolve()), "exec"), scope)
    assert scope["brief"].check("two words", {"limit": 1}).reward == 0.0
    exec(blocks("sdk/README.md", "python")[0], {})


def test_every_command_in_the_docs_exists_with_its_options() -> None:
    root = typer.main.get_command(app)
    lines = [line for line in blocks("docs/cli.md", "sh")[0].splitlines() if line.startswith("fettle ")]
    assert len(lines) > 8
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        if words[0] not in OWN:
            assert words == ["up"]
            continue
        command: Any = root.get_command(None, words.pop(0))
        if hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, line


def test_the_table_of_verbs_is_complete() -> None:
    text = (ROOT / "docs/cli.md").read_text()
    root = typer.main.get_command(app)
    for name in OWN:
        command: Any = root.get_command(None, name)
        if hasattr(command, "commands"):
            verbs = " ".join(f"`{verb}`" for verb in command.commands)
            assert f"| `{name}` | {verbs} |" in text


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "sdk/pyproject.toml").read_text())["project"]
    assert project["version"] == fettle.__version__
