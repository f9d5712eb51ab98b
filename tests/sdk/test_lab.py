"""Preflights, tests of graders and stored graders over a real wire, by both clients and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fettle import AsyncFettle, Fettle, InvalidRequest, JobFailed, JobTimeout
from fettle import graders as g
from fettle.cli.app import app

EXACT = g.string_check("{{sample.output_text}}", "eq", "{{item.answer}}")
ROWS = [{"messages": [{"role": "user", "content": "1+1"}], "answer": "2"}]
STATES = ("dead", "teachable", "solved")
PREFLIGHT = "/v1/fettle/preflight"


def some(value: float) -> dict[str, float]:
    return {"value": value, "low": value / 2, "high": min(1.0, value * 1.5)}


REPORT = {
    "verdict": "fixable",
    "summary": "Fixable: 60 % of the answers were cut off at 32 tokens.",
    "findings": [
        {"code": "truncated", "severity": "fix", "message": "60 % were cut off.", "next_step": "Raise the limit."}
    ],
    "pass_threshold": 0.5,
    "num_rows": 3,
    "samples_per_row": 8,
    "num_answers": 24,
    "num_graded": 24,
    "truncated_share": 0.6,
    "counts": {"dead": 1, "teachable": 2, "solved": 0, "ungraded": 0, "teachable_share": some(0.66)},
    "rows": [
        {"row": 0, "state": "dead", "mean": 0.0, "num_graded": 8, "num_passed": 0},
        {"row": 4, "state": "teachable", "mean": 0.5, "num_graded": 8, "num_passed": 4},
        {"row": 9, "state": "teachable", "mean": 0.25, "num_graded": 8, "num_passed": 2},
    ],
    "rewards": {
        "mean": some(0.25),
        "std": 0.4,
        "within_row_std": 0.3,
        "share_zero": 0.75,
        "share_one": 0.25,
        "histogram_edges": [i / 4 for i in range(5)],
        "histogram_counts": [1, 1, 1, 0],
    },
    "pass_at": [{"k": 1, "estimate": some(0.25)}, {"k": 8, "estimate": some(0.66)}],
    "signal": [{"group_size": 16, "planned": True, "estimate": some(0.5)}],
    "grader": {"failed_share": 0.0, "unreadable_share": 0.1, "errors": {}, "messages": [], "latency_p50_s": 0.001,
               "latency_p95_s": 0.002},
    "held_out": {"num_items": 5, "samples_per_item": 16, "mean": 0.3, "standard_error": 0.05, "in_sample": False},
    "speed": {"tokens_per_s": 1234.5, "completion_tokens_mean": 20, "sampling_s": 1, "grading_s": 0.1},
    "duration": {"total_steps": 150, "low_s": 90, "high_s": 600, "assumes": "150 steps"},
    "memory": {"device": "cpu", "peak_bytes": 2**29, "total_bytes": 2**34},
}  # fmt: skip


def preflight(status: str = "succeeded", **fields: Any) -> dict[str, Any]:
    done = status == "succeeded"
    return {
        "id": "preflight-1",
        "object": "fettle.preflight",
        "status": status,
        "phase": f"phase of {status}",
        "model": "fettle-tiny",
        "training_file": "file-1",
        "validation_file": None,
        "seed": 7,
        "plan": None,
        "verdict": REPORT["verdict"] if done else None,
        "summary": REPORT["summary"] if done else None,
        "report": REPORT if done else None,
        "error": None,
        **fields,
    }


@pytest.fixture
def server(wire, shapes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("FETTLE_API_KEY", "k")
    monkeypatch.setenv("FETTLE_BASE_URL", wire.url)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    wire.on("POST", "/v1/files", shapes.file())
    wire.on("POST", PREFLIGHT, preflight("validating_files"))
    wire.on("GET", f"{PREFLIGHT}/preflight-1", preflight("running"), preflight())
    return wire


@pytest.fixture
def client(server) -> Fettle:
    return Fettle()


def look(client: Fettle, **fields: Any) -> Any:
    return client.preflight(model="fettle-tiny", data=ROWS, grader=EXACT, **fields)


def test_a_preflight_waits_for_its_report_and_prints_it(client: Fettle, server) -> None:
    found = look(client, num_rows=3, samples_per_row=8, group_size=16, seed=7)
    (sent,) = server.asked("POST", PREFLIGHT)
    body = sent.json()
    assert (body["num_rows"], body["samples_per_row"], body["seed"]) == (3, 8, 7)
    assert "pass_threshold" not in body
    assert body["fettle"] == {"validation_split": 0.2}
    assert body["method"]["reinforcement"]["hyperparameters"] == {"group_size": 16}
    assert sent.headers["idempotency-key"]
    assert found.verdict == "fixable"
    assert found.rows("teachable") == [4, 9]
    assert found.report.counts.dead == 1
    text = repr(found)
    assert text == str(found)
    for part in (
        "Fixable: 60 %", "pass@8 0.66 [0.33, 0.99]", "of this job, 16: 50%", "60% cut off",
        "95 % within 2.0 ms",
        "0.300 ± 0.050 on 5 held-out rows", "150 steps, 90 s to 10 min (1234 tokens/s)", "0.5 of 16.0 GiB",
        "! truncated: 60 % were cut off.", "→ Raise the limit.",
    ):  # fmt: skip
        assert part in text, part
    dead, teachable, solved = (next(line for line in text.splitlines() if line.startswith(s)) for s in STATES)
    assert (dead.count("█"), teachable.count("█"), solved.count("█")) == (10, 20, 0)  # of 30: one, two and no row
    assert "2 (66%, 33% to 99%; they differ)" in teachable


def test_one_that_fails_says_why(client: Fettle, server) -> None:
    error = {"code": "invalid_training_file", "message": "row 3 has no answer", "param": "training_file"}
    server.on("GET", f"{PREFLIGHT}/preflight-1", preflight("failed", error=error))
    with pytest.raises(JobFailed, match="row 3 has no answer") as failed:
        look(client)
    assert failed.value.code == "invalid_training_file"
    server.on("GET", f"{PREFLIGHT}/preflight-1", preflight("running"))
    with pytest.raises(JobTimeout):
        look(client, timeout=0)
    assert look(client, wait=False).status == "validating_files"


def test_a_job_takes_a_preflight_over(client: Fettle, server, shapes) -> None:
    server.on("POST", "/v1/fine_tuning/jobs", shapes.job())
    found = look(client)
    for given in (found, "preflight-1"):
        client.finetune(model="fettle-tiny", data="file-1", grader="gradr-1", preflight=given)
        body = server.asked("POST", "/v1/fine_tuning/jobs")[-1].json()
        assert body["fettle"] == {"preflight_id": "preflight-1", "validation_split": 0.2}
        assert body["method"]["reinforcement"]["grader"] == "gradr-1"
        assert "seed" not in body


async def _async_look(wire: Any) -> Any:
    async with AsyncFettle() as client:
        found = await client.preflight(model="fettle-tiny", data=ROWS, grader=EXACT)
        stored = await client.graders.list()
        return found, stored


def test_the_asynchronous_client_does_the_same(server, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    server.on("GET", "/v1/fettle/graders", {"object": "list", "data": [STORED], "has_more": False})
    found, stored = asyncio.run(_async_look(server))
    assert found.verdict == "fixable"
    assert [grader.id for grader in stored] == ["grader-1"]


VERSION = {"id": "gradr-1", "object": "fettle.grader.version", "grader_id": "grader-1", "name": "exact", "number": 1,
           "note": "", "created_at": 1, "deleted": False, "grader": EXACT}  # fmt: skip
STORED = {"id": "grader-1", "object": "fettle.grader", "name": "exact", "created_at": 1, "num_versions": 1,
          "newest": VERSION}  # fmt: skip
GRADING = {"num_graded": 2, "num_failed": 1, "failed_share": 0.33, "errors": {"other_error": 1},
           "messages": ["it broke"], "latency_p50_s": 0.001, "latency_p95_s": 0.25, "judge_tokens_per_1000": 400.0,
           "complete": False, "seconds": 1.0}  # fmt: skip
TEST = {"object": "fettle.grader_test", "grader": EXACT, "grader_version": None, "source": "reference", "num_rows": 1,
        "num_answers": 1, "grading": GRADING,
        "scores": {"mean": some(0.5), "std": 0.1, "within_row_std": None, "minimum": 0, "median": 0, "maximum": 1,
                   "share_zero": 0.5, "share_one": 0.5, "histogram_edges": [0, 0.5, 1], "histogram_counts": [1, 1]},
        "gold": {"num_checked": 1, "top_score": 1.0, "num_missed": 1, "missed": [
            {"row": 3, "reason": "below_an_answer", "score": 0.5, "best_score": 1.0, "text": "2", "best_text": "3"}]},
        "worst": [], "best": [], "results": []}  # fmt: skip


def test_sources_in_short_and_rows_inline_or_uploaded(client: Fettle, server, tmp_path: Path) -> None:
    server.on("POST", "/v1/fettle/graders/test", TEST)

    def sent(*arguments: Any, **fields: Any) -> Any:
        client.graders.test(EXACT, *arguments, **fields)
        return server.asked("POST", "/v1/fettle/graders/test")[-1].json()

    body = sent(ROWS, gold="{{item.answer}}", num_rows=5)
    assert body["source"] == {"type": "reference", "template": "{{item.answer}}"}
    assert (body["rows"], body["num_rows"]) == (ROWS, 5)
    assert sent(source="ftjob-1")["source"] == {"type": "job", "job_id": "ftjob-1"}
    assert sent(ROWS, source="fettle-tiny")["source"] == {"type": "base", "model": "fettle-tiny"}
    pasted = {"type": "completions", "completions": [{"row": 0, "text": "2"}]}
    assert sent(ROWS, source=pasted)["source"] == pasted
    Path("train.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    assert sent("train.jsonl", source="fettle-tiny")["file_id"] == "file-tr"
    assert sent(ROWS * 501, source="fettle-tiny")["file_id"] == "file-tr"
    with pytest.raises(InvalidRequest, match="needs `gold`"):
        client.graders.test(EXACT, ROWS)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def files(server) -> None:
    Path("train.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    Path("grader.json").write_text(json.dumps(EXACT))
    Path("job.toml").write_text('model = "fettle-tiny"\ndata = "train.jsonl"\ngrader = "grader.json"\nsuffix = "s"\n')


@pytest.mark.parametrize(("verdict", "code"), [("ready", 0), ("fixable", 4), ("dont", 5)])
def test_the_command_exits_by_the_verdict(server, files, verdict: str, code: int) -> None:
    report = REPORT | {"verdict": verdict}
    server.on("GET", f"{PREFLIGHT}/preflight-1", preflight(verdict=verdict, report=report))
    done = run("preflight", "-c", "job.toml", "--rows", "3")
    assert done.exit_code == code, done.output
    assert "█" in done.stdout
    assert server.asked("POST", PREFLIGHT)[0].json()["num_rows"] == 3
    assert "suffix" not in server.asked("POST", PREFLIGHT)[0].json()
    as_json = run("preflight", "--show", "preflight-1", "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)["verdict"]) == (code, verdict)


def test_a_preflight_without_a_grader_is_a_usage_error(server, files) -> None:
    done = run("preflight", "--model", "fettle-tiny", "--data", "train.jsonl")
    assert (done.exit_code, "--grader is missing" in done.output) == (2, True)


def test_testing_a_grader_by_command(server, files) -> None:
    server.on("POST", "/v1/fettle/graders/test", TEST)
    done = run("graders", "test", "grader.json", "--data", "train.jsonl", "--gold", "{{item.answer}}")
    assert done.exit_code == 1  # a right answer lost
    for part in ("1 of 1 right answers do not score at the top", "row 3: below_an_answer", "it broke",
                 "400 judge tokens", "the time was over"):  # fmt: skip
        assert part in done.stdout, part


def test_the_other_verbs_of_the_lab(server, files) -> None:
    attack = {"name": "empty", "description": "nothing at all", "num_rows": 2, "num_fooled": 1, "share": some(0.5),
              "mean_score": 0.5, "max_score": 1.0, "examples": []}  # fmt: skip
    server.on("POST", "/v1/fettle/graders/red_team", {
        "verdict": "hackable", "summary": "Hackable by empty", "num_rows": 2, "honest_source": "reference",
        "honest_median": 1.0, "attacks": [attack], "grading": GRADING | {"num_failed": 0}})  # fmt: skip
    done = run("graders", "redteam", "gradr-1", "--data", "train.jsonl", "--gold", "{{item.answer}}")
    assert (done.exit_code, "✗ empty" in done.stdout) == (1, True)
    assert server.asked("POST", "/v1/fettle/graders/red_team")[0].json()["grader"] == "gradr-1"
    server.on("POST", "/v1/fettle/graders/regrade", {
        "job_id": "ftjob-1", "summary": "It would train differently.", "num_groups": 2, "num_compared": 4,
        "spearman": None, "changed_winners": some(0.5), "flipped": some(0.25), "flips": [
            {"row": 1, "step": 2, "text": "a\nb", "old_reward": 1, "new_reward": 0, "old_advantage": 0.5,
             "new_advantage": -0.5}], "grading": GRADING})  # fmt: skip
    done = run("graders", "regrade", "grader.json", "--job", "ftjob-1", "--step", "2")
    assert (done.exit_code, "row 1: 1 → 0  a b" in done.stdout) == (0, True)
    assert server.asked("POST", "/v1/fettle/graders/regrade")[0].json()["step"] == 2
    server.on("POST", "/v1/fettle/graders/calibrate", {
        "verdict": "do_not_use", "warnings": ["few answers"], "num_answers": 2, "spearman": some(0.1),
        "grading": GRADING})  # fmt: skip
    Path("ratings.jsonl").write_text('{"item": {}, "text": "a", "label": 1}\n')
    done = run("graders", "calibrate", "grader.json", "ratings.jsonl", "--repeats", "3")
    assert (done.exit_code, "! few answers" in done.stdout) == (1, True)
    assert server.asked("POST", "/v1/fettle/graders/calibrate")[0].json()["repeats"] == 3
    Path("ratings.jsonl").write_text('{"item": {}}\n')
    assert run("graders", "calibrate", "grader.json", "ratings.jsonl").exit_code == 2


def test_keeping_graders_by_command(server, files) -> None:
    base = "/v1/fettle/graders"
    server.on("POST", base, STORED)
    server.on("POST", f"{base}/grader-1/versions", VERSION | {"number": 2})
    server.on("GET", base, {"object": "list", "data": [STORED], "has_more": False})
    server.on("GET", f"{base}/grader-1/versions", {"object": "list", "data": [VERSION], "has_more": False})
    change = {"path": "operation", "from": "eq", "to": "like"}
    server.on("GET", f"{base}/grader-1/diff", {"from": VERSION, "to": VERSION | {"number": 2}, "changes": [change]})
    server.on("DELETE", f"{base}/grader-1", {"id": "grader-1", "object": "fettle.grader", "deleted": True})
    assert "gradr-1  exact version 1" in run("graders", "store", "grader.json", "--note", "first").stdout
    assert server.asked("POST", base)[0].json() == {"name": "grader", "grader": EXACT, "note": "first"}
    assert "version 2" in run("graders", "store", "grader.json", "--to", "grader-1").stdout
    assert "string_check" in run("graders", "list").stdout
    assert "gradr-1" in run("graders", "versions", "grader-1").stdout
    assert 'operation: "eq" → "like"' in run("graders", "diff", "grader-1").stdout
    assert run("graders", "delete", "grader-1").exit_code == 0


def test_one_answer_is_graded_offline_without_a_key(files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FETTLE_API_KEY")
    done = run("graders", "run", "grader.json", "--answer", "2", "--item", '{"answer": "2"}', "--offline")
    assert (done.exit_code, done.stdout.strip()) == (0, "reward 1")
