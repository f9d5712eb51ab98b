"""The verdict of a stored selection can be computed again from its own scores."""

import json

import pytest

from fettle_workers.contract.events import CandidateScores, ScoreTable
from fettle_workers.engine import verdict
from fettle_workers.engine.train import train
from fettle_workers.engine.verdict import reach_verdict


@pytest.fixture
def stored(make_job, letters, simple_rows):
    job, source, _ = make_job(
        graders=letters, validation=simple_rows(8, 100), max_steps=9, eval_interval=1, group_size=16
    )
    return json.loads(train(job, source).selection.model_dump_json())


def check(tmp_path, monkeypatch, selection):
    path = tmp_path / "selection.json"
    path.write_text(json.dumps(selection))
    monkeypatch.setattr("sys.argv", ["verdict", str(path)])
    return verdict.main()


def test_what_a_job_stored_computes_to_what_it_said(stored, tmp_path, monkeypatch, capsys):
    assert stored["verdict"] == "improved"
    assert stored["table"]["method"] == "corrected"
    # Step 0 and nine evaluations; the five finalists are the candidates, and the rest might have won, too.
    steps = {part: [one["step"] for one in stored["table"][part]] for part in ("candidates", "others")}
    assert len(steps["candidates"]) == 5
    assert sorted(steps["candidates"] + steps["others"]) == list(range(10)) == [c["step"] for c in stored["candidates"]]
    assert check(tmp_path, monkeypatch, stored) == 0
    assert f"chosen_step: stored {stored['chosen_step']}, computed {stored['chosen_step']}\n" in capsys.readouterr().out


def test_a_number_that_does_not_follow_is_found(stored, tmp_path, monkeypatch, capsys):
    assert check(tmp_path, monkeypatch, stored | {"gain": stored["gain"] + 0.01}) == 1
    assert "DIFFERENT" in capsys.readouterr().out
    others = [one | {"item_means": [2.0, 0.0] * 4} for one in stored["table"]["others"]]
    assert check(tmp_path, monkeypatch, stored | {"table": stored["table"] | {"others": others}}) == 1
    base = stored["table"]["candidates"][0]
    base["item_means"] = [1.0] * len(base["item_means"])
    assert check(tmp_path, monkeypatch, stored) == 1


def table(method, **more):
    candidates = (
        CandidateScores(step=0, kl_nats=0.0, item_means=(0.0,) * 6),
        CandidateScores(step=5, kl_nats=0.1, item_means=(1.0, 1.0, 1.0, 1.0, 1.0, None)),
        CandidateScores(step=9, kl_nats=0.1, illness="cut off", item_means=(2.0,) * 6),
    )
    return ScoreTable(method=method, rows=tuple(range(6)), kl_budget_nats=1.0, seed=1, candidates=candidates, **more)


def test_a_clear_gain_on_the_rows_that_chose_is_claimed():
    found = reach_verdict(table("corrected"), in_sample=False)
    assert (found.delivered, found.claimed, found.gain.mean, found.base_mean) == (5, True, 1.0, 0.0)


def test_a_choice_that_gains_nothing_on_fresh_rows_is_not_delivered():
    found = reach_verdict(
        table(
            "fresh_rows", report_rows=(7, 8, 9, 10, 11), base_report=(0.5,) * 5, chosen_report=(0.5, 0.6, 0.4, 0.5, 0.5)
        ),
        in_sample=False,
    )
    assert (found.delivered, found.claimed, found.gain.mean) == (0, False, 0.0)
    (rejected,) = (one for one in found.judged if one.step == 5)
    assert "not delivered" in rejected.reason


@pytest.mark.parametrize(("method", "in_sample"), [("fresh_answers", True), ("fresh_answers", False)])
def test_without_held_out_rows_a_gain_is_delivered_and_not_claimed(method, in_sample):
    report = {"report_rows": tuple(range(6)), "base_report": (0.0,) * 6, "chosen_report": (1.0,) * 6}
    found = reach_verdict(table(method, **report), in_sample=in_sample)
    assert (found.delivered, found.claimed) == (5, False)
