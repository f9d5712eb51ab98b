"""Red-team, regrade and calibrate through the API."""

import pytest

from fettle_workers.egress.judge import JudgeUpstream

RED_TEAM, REGRADE, CALIBRATE = (f"/v1/fettle/graders/{name}" for name in ("red_team", "regrade", "calibrate"))
GOLD = "{{item.answer}}"


def run(api, route, **body):
    response = api.post(route, body)
    assert response.status_code == 200, response.json()
    return response.json()


def kinds(found):
    return {attack["name"]: attack for attack in found["attacks"]}


def test_an_exact_grader_holds(api, lab, rows):
    found = run(api, RED_TEAM, grader=lab.exact, rows=rows, gold=GOLD)
    assert (found["verdict"], found["honest_median"]) == ("holds", 1.0)
    assert {"empty", "prompt_echo", "other_reference", "all_labels", "judge_command"} <= set(kinds(found))
    assert all(attack["num_fooled"] == 0 for attack in found["attacks"])
    assert kinds(found)["empty"]["share"]["high"] == pytest.approx(3.8415 / 9.8415, abs=1e-3)


def test_a_grader_that_looks_for_the_answer_anywhere_is_hackable_by_naming_all(api, lab, rows):
    found = run(api, RED_TEAM, grader=lab.contains, rows=rows, gold=GOLD)
    assert found["verdict"] == "hackable"
    assert kinds(found)["all_labels"]["num_fooled"] == 6
    assert found["attacks"][0]["name"] == "all_labels"
    assert "all_labels (6 of 6 rows)" in found["summary"]
    assert kinds(found)["empty"]["num_fooled"] == 0
    assert kinds(found)["all_labels"]["examples"][0]["score"] == 1.0


def test_a_constant_grader_is_hackable_by_anything(api, lab, rows):
    constant = lab.exact | {"input": "a", "reference": "a"}
    found = run(api, RED_TEAM, grader=constant, rows=rows, gold=GOLD)
    assert (found["verdict"], "tells nothing apart" in found["summary"]) == ("hackable", True)


def test_honest_answers_that_all_fail_prove_nothing(api, lab, rows):
    honest = {"type": "completions", "completions": [{"row": 0, "text": "wrong"}, {"row": 1, "text": "bad"}]}
    found = run(api, RED_TEAM, grader=lab.contains | {"reference": "zzz"}, rows=rows, gold=GOLD, honest=honest)
    assert found["verdict"] == "hackable"  # every answer gets 0
    found = run(api, RED_TEAM, grader=lab.contains, rows=rows, gold=GOLD, honest=honest)
    # all_labels still beats them
    assert kinds(found)["all_labels"]["num_fooled"] == 2
    assert kinds(found)["empty"]["num_fooled"] == 0


def test_a_red_team_without_honest_answers_says_what_is_missing(api, lab, rows, error_of):
    error = error_of(api.post(RED_TEAM, {"grader": lab.exact, "rows": rows}), 400)
    assert error["param"] == "gold"


@pytest.fixture
def job(job_with):
    """Two groups of two answers, graded exactly: (1, 0) and (0, 0), and one answer that was never graded."""
    return job_with(
        [
            {"row": 0, "text": "11", "reward": 1.0},
            {"row": 0, "text": "it is 11, I think", "reward": 0.0},
            {"row": 1, "text": "no idea", "reward": 0.0},
            {"row": 1, "text": "the answer: 12", "reward": 0.0},
            {"row": 2, "text": "13", "reward": None},
            {"row": 2, "text": "13", "reward": 1.0},
        ]
    )


def test_the_same_grader_changes_nothing(api, lab, job):
    found = run(api, REGRADE, grader=lab.exact, job_id=job)
    assert (found["num_groups"], found["num_answers"], found["num_compared"]) == (3, 6, 5)
    assert (found["flipped"]["value"], found["num_flips"], found["silenced"], found["awakened"]) == (0, 0, 0, 0)
    assert found["spearman"]["value"] == pytest.approx(1)
    assert "same directions" in found["summary"]


def test_a_looser_grader_silences_and_awakens_groups(api, lab, job):
    found = run(api, REGRADE, grader=lab.contains, job_id=job)
    # group 0: (1, 0) -> (1, 1); group 1: (0, 0) -> (0, 1)
    assert (found["silenced"], found["awakened"]) == (1, 1)
    assert found["changed_winners"] is None
    assert "1 groups fall silent and 1 begin to teach" in found["summary"]


def test_an_opposite_grader_flips_what_was_pushed(api, lab, job):
    found = run(api, REGRADE, grader=lab.exact | {"operation": "ne"}, job_id=job)
    assert found["flipped"]["value"] == 1.0
    assert found["changed_winners"]["value"] == 1.0
    assert found["num_flips"] == 2
    assert found["flips"][0]["text"] in ("11", "it is 11, I think")
    assert found["flips"][0]["old_advantage"] * found["flips"][0]["new_advantage"] < 0
    assert found["spearman"]["value"] < 0


def test_what_is_not_stored_cannot_be_regraded(api, lab, job, error_of):
    error = error_of(api.post(REGRADE, {"grader": lab.exact, "job_id": job, "step": 7}), 400)
    assert "no stored answers" in error["message"]


def test_rollouts_are_graded_with_their_tool_calls_and_thinking(api, lab, job_with):
    grader = lab.exact | {"input": "{{sample.output_tools[0].function.name}}{{sample.output_reasoning}}"}
    call = '[{"name": "1", "arguments": "{}"}]'
    job = job_with([{"row": 0, "text": "", "reasoning": "1", "tool_calls": call, "reward": 0.0}])
    found = run(api, REGRADE, grader=grader, job_id=job)
    assert found["new_mean"]["value"] == 1.0


def rated(lab, *triples):
    return [{"item": lab.row(number), "text": text, "label": label} for number, text, label in triples]


def test_a_grader_that_agrees_with_people_may_be_used(api, lab):
    answers = rated(lab, *[(n, str(n + 1) if n % 2 else "no", 5 if n % 2 else 1) for n in range(30)])
    found = run(api, CALIBRATE, grader=lab.exact, answers=answers)
    assert (found["verdict"], found["warnings"]) == ("use", [])
    assert (found["agreement"]["value"], found["label_threshold"]) == (1.0, 3.0)
    assert found["kappa"]["value"] == pytest.approx(1.0)
    assert found["repeat_noise"]["value"] == 0.0
    assert found["confusion"] == {"both_pass": 15, "both_fail": 15, "only_grader": 0, "only_person": 0}


def test_a_grader_that_disagrees_is_said_with_numbers(api, lab):
    answers = rated(lab, (1, "2", 0), (2, "3", 0), (3, "x", 1), (4, "5", 1), (5, "y", 1))
    found = run(api, CALIBRATE, grader=lab.exact, answers=answers, repeats=1)
    assert found["verdict"] == "do_not_use"
    assert found["agreement"]["value"] == pytest.approx(0.2)
    assert found["repeat_noise"] is None
    assert any("few" in warning for warning in found["warnings"])
    assert any("Spearman" in warning for warning in found["warnings"])


def test_a_judges_score_passes_from_the_middle_of_its_range_on(api, lab, serve, reply, change_env):
    """4 of 10 is no pass and 5 is one; from 0.5 on both would be."""
    message = {"content": '{"steps": [], "result": 4}'}
    server = serve(reply(200, {"choices": [{"message": message, "finish_reason": "stop"}]}))
    change_env(judges=(JudgeUpstream(base_url=f"{server.url}/v1", api_key="sk-hush", models=("gpt-judge",)),))
    asked = [{"role": "user", "content": "{{sample.output_text}}"}]
    judge = {"type": "score_model", "model": "gpt-judge", "range": [0, 10], "input": asked}
    found = run(api, CALIBRATE, grader=judge, answers=rated(lab, (1, "2", 0), (2, "3", 1)), repeats=1)
    assert found["score_threshold"] == 5.0
    assert found["confusion"] == {"both_pass": 0, "both_fail": 1, "only_grader": 0, "only_person": 1}


def test_noise_above_the_spread_between_answers_is_said():
    from fettle_graders.lab.calibrate import Rated, calibrate
    from fettle_platform.lab.calibration import judge

    rated = [Rated(float(i % 2), (0.1 + 0.8 * (i % 2), 0.9 - 0.8 * (i % 2)), 10, i // 2) for i in range(40)]
    found = calibrate(rated, label_threshold=0.5, score_threshold=0.5)
    assert any("chase noise" in warning for warning in judge(found)[1])


def test_too_many_repeats_are_refused(api, lab, error_of):
    answers = rated(lab, *[(n, "x", 0) for n in range(300)])
    error = error_of(api.post(CALIBRATE, {"grader": lab.exact, "answers": answers, "repeats": 10}), 400)
    assert (error["param"], "3000" in error["message"]) == ("repeats", True)
