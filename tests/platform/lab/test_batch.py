"""Batch tests over every source, with numbers that can be checked by hand."""

import pytest

TEST = "/v1/fettle/graders/test"
GOLD = "{{item.answer}}"
REFERENCE = {"type": "reference", "template": GOLD}


def pasted(*pairs):
    return {"type": "completions", "completions": [{"row": row, "text": text} for row, text in pairs]}


def run(api, **body):
    response = api.post(TEST, body)
    assert response.status_code == 200, response.json()
    return response.json()


def test_the_right_answers_of_a_file_score_at_the_top(api, lab, upload, rows):
    found = run(api, grader=lab.exact, source=REFERENCE, file_id=upload(rows), gold=GOLD)
    assert (found["num_rows"], found["num_answers"]) == (6, 6)
    assert found["scores"]["mean"]["value"] == 1.0
    assert (found["scores"]["share_zero"], found["scores"]["share_one"]) == (0.0, 1.0)
    assert sum(found["scores"]["histogram_counts"]) == 6
    assert found["gold"] == {"num_checked": 6, "top_score": 1.0, "num_missed": 0, "missed": []}
    assert found["grading"]["complete"] is True
    assert found["grading"]["judge_tokens_per_1000"] is None
    assert found["grader"]["name"] == "string_check"


def test_pasted_answers_by_hand(api, lab, rows):
    source = pasted((0, "11"), (0, "12"), (1, "12"), (2, "x"))
    found = run(api, grader=lab.exact, source=source, rows=rows)
    # rows: 0.5, 1, 0
    assert found["scores"]["mean"]["value"] == pytest.approx(0.5)
    assert (found["scores"]["share_zero"], found["scores"]["share_one"]) == (0.5, 0.5)
    assert [(result["row"], result["score"]) for result in found["results"]] == [(0, 1), (0, 0), (1, 1), (2, 0)]
    assert found["worst"][0]["score"] == 0
    assert found["best"][0]["score"] == 1
    assert found["gold"] is None


def test_rows_whose_right_answer_does_not_win_are_listed_with_why(api, lab, rows):
    items = [rows[0], rows[1] | {"gold": "no"}, rows[2]]
    del items[2]["answer"]
    items = [{"gold": item.get("answer", "x")} | item for item in items]
    source = pasted((0, "11"), (1, "12"), (2, "?"))
    found = run(api, grader=lab.exact, source=source, rows=items, gold="{{item.gold}}")
    missed = {miss["row"]: miss for miss in found["gold"]["missed"]}
    assert found["gold"]["num_checked"] == 3
    assert set(missed) == {1, 2}
    assert (missed[1]["reason"], missed[1]["score"], missed[1]["best_score"]) == ("below_an_answer", 0.0, 1.0)
    assert missed[1]["best_text"] == "12"
    assert missed[2]["reason"] == "failed"


def test_a_grader_that_grades_right_answers_unequally_is_noticed(api, lab, rows):
    grader = lab.close | {"input": "{{sample.output_text}} and so on", "reference": "{{item.answer}} and so on!"}
    items = [rows[0], rows[1] | {"answer": "a much longer answer than the others"}]
    found = run(api, grader=grader, source=REFERENCE, rows=items, gold=GOLD)
    assert [(miss["row"], miss["reason"]) for miss in found["gold"]["missed"]] == [(0, "below_other_references")]


def test_failures_are_counted_and_are_no_scores(api, lab, rows):
    items = [rows[0], {"messages": rows[1]["messages"]}]
    found = run(api, grader=lab.exact, source=pasted((0, "11"), (1, "12")), rows=items)
    assert found["grading"]["num_failed"] == 1
    assert found["grading"]["failed_share"] == 0.5
    assert found["grading"]["errors"] == {"invalid_variable_error": 1}
    assert "answer" in found["grading"]["messages"][0]
    assert found["scores"]["mean"]["value"] == 1.0
    assert found["results"][1]["score"] is None
    nothing = run(api, grader=lab.exact, source=pasted((1, "12")), rows=items)
    assert nothing["scores"] is None


def test_stored_answers_of_a_job(api, lab, job_with):
    records = [{"row": 0, "text": "11"}, {"row": 0, "text": "9"}, {"row": 3, "text": "14", "step": 2}]
    job = job_with(records)
    found = run(api, grader=lab.exact, source={"type": "job", "job_id": job}, gold=GOLD)
    assert [(r["row"], r["step"], r["score"]) for r in found["results"]] == [(0, 1, 1), (0, 1, 0), (3, 2, 1)]
    only = run(api, grader=lab.exact, source={"type": "job", "job_id": job, "step": 2})
    assert [result["text"] for result in only["results"]] == ["14"]


def test_fresh_answers_of_a_model(api, lab, rows, model_server):
    source = {"type": "base", "model": "fettle-tiny", "samples_per_row": 2, "max_completion_tokens": 7}
    found = run(api, grader=lab.exact, source=source, rows=rows, num_rows=2, seed=5, gold=GOLD)
    assert found["num_answers"] == 4
    assert [(r["row"], r["score"]) for r in found["results"]] == [(0, 1), (0, 0), (5, 0), (5, 0)]
    sent = sorted(model_server.asked, key=lambda body: body["seed"])
    assert [body["seed"] for body in sent] == [5, 6]
    assert sent[0]["messages"] == [{"role": "user", "content": "What is 10 + 1?"}]
    assert (sent[0]["n"], sent[0]["max_completion_tokens"]) == (2, 7)


def test_a_model_that_refuses_or_is_not_there_is_said(api, lab, rows, model_server, change_env, error_of):
    body = {"grader": lab.exact, "source": {"type": "base", "model": "fettle-tiny"}, "rows": rows}
    model_server.status = 400
    assert error_of(api.post(TEST, body), 400)["message"] == "too long"
    change_env(inference_url=None)
    assert error_of(api.post(TEST, body), 503)["code"] == "model_server_unavailable"
    body["source"]["model"] = "ft:none"
    assert error_of(api.post(TEST, body), 404)["code"] == "model_not_found"


def test_a_stored_grader_may_be_named(api, lab, rows):
    stored = api.post("/v1/fettle/graders", {"name": "exact", "grader": lab.exact}).json()
    found = run(api, grader=stored["id"], source=REFERENCE, rows=rows)
    assert found["grader_version"] == stored["newest"]["id"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"grader": None}, "grader"),
        ({"grader": {"type": "string_check"}}, "grader.input"),
        ({"source": {"type": "magic"}}, "source"),
        ({"source": {"type": "reference"}}, "source.template"),
        ({"source": {"type": "reference", "template": "{{sample.output_text}}"}}, "source.template"),
        ({"source": {"type": "reference", "template": "{{item.none}}"}}, "source.template"),
        ({"source": {"type": "reference", "template": "{{"}}, "source.template"),
        ({"rows": None}, "file_id"),
        ({"rows": []}, "rows"),
        ({"num_rows": 501}, "num_rows"),
        ({"source": {"type": "completions", "completions": [{"row": 77, "text": "x"}]}}, "row"),
        ({"source": {"type": "completions", "completions": [{"row": -1, "text": "x"}]}}, "source.completions.0.row"),
        ({"gold": "{{x}}"}, "gold"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_bad_requests_name_the_field(api, lab, rows, error_of, change, param):
    body = {"grader": lab.exact, "source": REFERENCE, "rows": rows} | change
    assert error_of(api.post(TEST, {k: v for k, v in body.items() if v is not None}), 400)["param"] == param


PYTHON = "def grade(sample, item):\n    return float(sample['output_text'] == item['answer'])"


def test_code_is_graded_in_the_sandbox_only(api, lab, rows, error_of):
    found = run(api, grader={"type": "python", "source": PYTHON}, source=REFERENCE, rows=rows, gold=GOLD)
    assert found["scores"]["mean"]["value"] == 1.0
    assert found["gold"]["num_missed"] == 0
    broken = {"type": "python", "source": PYTHON.replace("item['answer']", "item['none']")}
    failed = run(api, grader=broken, source=REFERENCE, rows=rows)
    assert failed["grading"]["num_failed"] == 6
    assert failed["grading"]["errors"] == {"python_grader_runtime_error": 6}
    unusable = {"grader": {"type": "python", "source": "x = 1"}, "source": REFERENCE, "rows": rows}
    assert error_of(api.post(TEST, unusable), 400)["param"] == "grader.source"


def test_more_than_one_waits_for_is_refused_and_says_how_many(api, lab, rows, error_of):
    source = {"type": "base", "model": "fettle-tiny", "samples_per_row": 16}
    error = error_of(api.post(TEST, {"grader": lab.exact, "source": source, "rows": rows * 50, "num_rows": 200}), 400)
    assert "3200 gradings" in error["message"]
    assert "2000" in error["message"]


def test_a_slow_grader_stops_at_the_time_limit_and_says_so(scope, lab, rows, monkeypatch):
    import time

    from fettle_graders.sample import Sample
    from fettle_graders.spec import parse_grader
    from fettle_platform.lab import grading

    class Slow:
        def grade_group(self, item, samples):
            time.sleep(0.2)
            return []

    monkeypatch.setattr(grading, "compile_grader", lambda spec, services: Slow())
    graded = grading.grade_all(scope, parse_grader(lab.exact), [(rows[0], [Sample("x")])] * 40, limit_s=0.3)
    assert not graded.is_complete
    assert graded.grades[0] == []
    assert graded.grades[-1] is None
    assert graded.seconds < 2


def test_a_caller_has_few_looks_at_once(api, lab, rows, scope, error_of):
    from fettle_platform.inference.limits import num_in_flight, take_slot
    from fettle_platform.lab.api import MAX_AT_ONCE

    body = {"grader": lab.exact, "source": REFERENCE, "rows": rows}
    held = [take_slot(f"lab {scope.caller_id}") for _ in range(MAX_AT_ONCE)]
    error = error_of(api.post(TEST, body), 429)
    assert error["code"] == "rate_limit_exceeded"
    held[0].release()
    assert api.post(TEST, body).status_code == 200
    assert num_in_flight(f"lab {scope.caller_id}") == MAX_AT_ONCE - 1
    for slot in held:
        slot.release()


@pytest.mark.parametrize("route", ["test", "red_team", "regrade", "calibrate"])
def test_key_and_method_are_needed(api, anonymous, db, error_of, route):
    error_of(anonymous.post(f"/v1/fettle/graders/{route}", {}), 401)
    error_of(api.get(f"/v1/fettle/graders/{route}"), 405)
    error_of(api.post(f"/v1/fettle/graders/{route}", []), 400)


def test_anothers_files_jobs_and_graders_are_not_there(foreign_api, lab, rows, upload, job_with, api, error_of):
    job, file = job_with([{"row": 0, "text": "11"}]), upload(rows)
    stored = api.post("/v1/fettle/graders", {"name": "exact", "grader": lab.exact}).json()["id"]
    asked = {"grader": lab.exact, "source": REFERENCE}
    error_of(foreign_api.post(TEST, asked | {"file_id": file}), 404)
    error_of(foreign_api.post(TEST, {"grader": lab.exact, "source": {"type": "job", "job_id": job}}), 404)
    error_of(foreign_api.post(TEST, asked | {"grader": stored, "rows": rows}), 404)
    error_of(foreign_api.post("/v1/fettle/graders/regrade", {"grader": lab.exact, "job_id": job}), 404)
