"""`/internal/jobs/{id}/judge`: a trainer asks judges with a token that opens nothing else, as its project may."""

import pytest

from fettle_graders.services import TokenUsage
from fettle_platform.jobs import leases
from fettle_workers.contract import events as contract
from fettle_workers.contract.internal import JudgeReply
from fettle_workers.egress.judge import JudgeUpstream

JUDGE = {"type": "score_model", "model": "gpt-judge", "input": [{"role": "user", "content": "{{sample.output_text}}"}]}
REQUEST = {"model": "gpt-judge", "messages": [{"role": "user", "content": "x"}], "json_schema": {"type": "object"}}


def completion(text):
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}


@pytest.fixture
def judge_server(serve, reply, change_env):
    server = serve(reply(200, completion('{"result": 1}')))
    upstream = JudgeUpstream(base_url=f"{server.url}/v1", api_key="sk-hush", models=("gpt-judge",))
    change_env(judges=(upstream,))
    return server


@pytest.fixture
def run(judge_server, worker):
    return worker(method={"type": "reinforcement", "reinforcement": {"grader": JUDGE}})


@pytest.fixture
def ask(anonymous, run):
    def ask_(token=None, attempt=1, **request):
        url = f"/internal/jobs/{run.job.public_id}/judge"
        headers = {"authorization": f"Bearer {token or run.claim.judge_token}"}
        return anonymous.post(url, {"attempt": attempt, "request": REQUEST | request}, format="json", headers=headers)

    return ask_


def test_the_question_is_passed_on_with_the_operators_key(ask, judge_server):
    reply = JudgeReply.model_validate_json(ask().content)
    assert (reply.answer.text, reply.answer.usage.total_tokens) == ('{"result": 1}', 5)
    assert judge_server.asked[0].headers["authorization"] == "Bearer sk-hush"


def test_a_failure_is_an_answer_with_its_reason_and_without_the_key(ask, judge_server, reply):
    judge_server.script[:] = [reply(401, b"wrong key sk-hush")]
    response = ask()
    answer = JudgeReply.model_validate_json(response.content)
    assert answer.answer is None
    assert answer.details == "HTTP 401: wrong key ***"
    assert "sk-hush" not in response.content.decode()


def test_a_model_that_nobody_allowed_is_a_failure_that_names_those_there_are(ask):
    assert "`gpt-judge`" in JudgeReply.model_validate_json(ask(model="gpt-other").content).failure


def test_only_this_attempts_judge_token_asks(ask, run, judge_server):
    for token in ("x", run.claim.token, "a worker token of the tests"):
        assert ask(token=token).status_code == 410
    assert ask(attempt=2).status_code == 410
    assert judge_server.asked == []


def test_the_judge_token_opens_nothing_else(anonymous, run):
    headers = {"authorization": f"Bearer {run.claim.judge_token}"}
    for call, body in {
        "heartbeat": {"attempt": 1},
        "events": {"attempt": 1, "events": []},
        "release": {"attempt": 1, "outcome": "lost", "message": "x"},
    }.items():
        url = f"/internal/jobs/{run.job.public_id}/{call}"
        assert anonymous.post(url, body, format="json", headers=headers).status_code == 410
    assert anonymous.get("/v1/models", headers=headers).status_code == 401


def test_a_job_that_is_nobodys_any_more_asks_nothing(ask, run, judge_server):
    leases.job_release(job=run.job, attempt=1, outcome="requeue", message="shutting down", now=run.now)
    assert ask().status_code == 410
    assert judge_server.asked == []


def test_a_job_whose_judge_nobody_allowed_is_refused_at_once(api, body, error_of, judge_server):
    grader = JUDGE | {"model": "gpt-unknown"}
    method = {"type": "reinforcement", "reinforcement": {"grader": grader}}
    error = error_of(api.post("/v1/fine_tuning/jobs", body(method=method)), 400)
    assert (error["code"], error["param"]) == ("invalid_grader", "method.reinforcement.grader")
    assert "`gpt-judge`" in error["message"]


def test_without_any_judge_the_kind_is_refused(api, body, error_of):
    method = {"type": "reinforcement", "reinforcement": {"grader": JUDGE}}
    error = error_of(api.post("/v1/fine_tuning/jobs", body(method=method)), 400)
    assert error["code"] == "unsupported_grader"
    assert "judge model" in error["message"]


def test_tokens_of_judges_are_shown_for_each_step_and_summed_for_the_job(api, run, said):
    """16 completions of a step and 8 of an evaluation; 3 tokens in and 2 out for each, read twice by two graders."""

    def grader(side, name, num):
        usage = TokenUsage(prompt_tokens=3 * num, completion_tokens=2 * num, total_tokens=5 * num, cached_tokens=num)
        return contract.GraderMetrics(name=name, type="score_model", **{f"{side}_usage": {"gpt-judge": usage}})

    trained = said.step(1, eval_s=0.5).metrics.model_copy(
        update={"num_completions": 16, "graders": (grader("train", "style", 16), grader("train", "facts", 16))}
    )
    measured = said.evaluation(1, 0.5).evaluation.model_copy(update={"graders": (grader("valid", "style", 8),)})
    run.start()
    run.say(contract.StepDone(metrics=trained), contract.EvaluationDone(evaluation=measured))
    job = api.get(f"/v1/fine_tuning/jobs/{run.job.public_id}").json()
    used = {"prompt_tokens": 120, "completion_tokens": 80, "total_tokens": 200, "cached_tokens": 40}
    assert job["fettle"]["judge_usage"] == {"gpt-judge": used}
    events = api.get(f"/v1/fine_tuning/jobs/{run.job.public_id}/events").json()["data"]
    data = next(event["data"] for event in events if event["type"] == "metrics")
    assert data["usage"]["graders"] == [
        {
            "name": "style",
            "type": "score_model",
            "model": "gpt-judge",
            "train_prompt_tokens_mean": 3.0,
            "train_prompt_tokens_count": 16,
            "train_completion_tokens_mean": 2.0,
            "train_completion_tokens_count": 16,
            "valid_prompt_tokens_mean": 3.0,
            "valid_prompt_tokens_count": 8,
            "valid_completion_tokens_mean": 2.0,
            "valid_completion_tokens_count": 8,
        },
        {
            "name": "facts",
            "type": "score_model",
            "model": "gpt-judge",
            "train_prompt_tokens_mean": 3.0,
            "train_prompt_tokens_count": 16,
            "train_completion_tokens_mean": 2.0,
            "train_completion_tokens_count": 16,
        },
    ]
    assert data["model_graders_token_usage"] == {
        "gpt-judge": {
            "train_prompt_tokens": 96,
            "train_completion_tokens": 64,
            "train_cached_tokens": 32,
            "eval_prompt_tokens": 24,
            "eval_completion_tokens": 16,
            "eval_cached_tokens": 8,
        }
    }


def test_a_step_that_is_repeated_after_an_interruption_spent_its_tokens_twice(api, run, said):
    usage = {"gpt-judge": TokenUsage(prompt_tokens=3, completion_tokens=2, total_tokens=5)}
    judged = contract.GraderMetrics(name="style", type="score_model", train_usage=usage)
    done = contract.StepDone(metrics=said.step(1).metrics.model_copy(update={"graders": (judged,)}))
    run.start()
    run.say(done, done)
    job = api.get(f"/v1/fine_tuning/jobs/{run.job.public_id}").json()
    assert job["fettle"]["judge_usage"]["gpt-judge"]["total_tokens"] == 10
