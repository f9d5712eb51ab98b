import itertools

import pytest
from django.conf import settings
from django.utils import timezone

from fettle_graders.sandbox.pool import Sandbox
from fettle_graders.sandbox.tiers import TierUnavailable
from fettle_graders.sandbox.worker import Worker
from fettle_graders.spec import parse_grader
from fettle_platform.core.errors import InvalidRequest
from fettle_platform.graders import services
from fettle_platform.graders.services import grader_require_judges, services_of_jobs
from fettle_platform.registry.models import Model
from fettle_workers.egress.judge import JudgeUpstream

VALIDATE, RUN = "/v1/fine_tuning/alpha/graders/validate", "/v1/fine_tuning/alpha/graders/run"
EXACT = {
    "type": "string_check",
    "name": "exact",
    "operation": "eq",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
}
SAME_NUMBER = {"type": "math", "name": "number", "input": "{{sample.output_text}}", "reference": "{{item.answer}}"}
MULTI = {
    "type": "multi",
    "name": "total",
    "graders": {"exact": EXACT, "half": EXACT | {"operation": "like", "name": "half"}},
    "calculate_output": "0.5 * exact + 0.5 * half",
}


def run(api, grader, sample, item=None, **fields):
    return api.post(RUN, {"grader": grader, "model_sample": sample, "item": item or {"answer": "5"}, **fields})


@pytest.fixture
def allow_loopback(monkeypatch):
    monkeypatch.setattr(settings, "FETTLE", settings.FETTLE.model_copy(update={"egress_allow": ["127.0.0.1"]}))


def test_a_valid_grader_is_echoed_in_full(api, golden):
    golden("validate", api.post(VALIDATE, {"grader": MULTI}).json())


def test_secrets_are_masked_in_the_echo(api):
    grader = {
        "type": "endpoint",
        "name": "e",
        "url": "https://a.example/g",
        "headers": {"Authorization": "Bearer secret"},
    }
    response = api.post(VALIDATE, {"grader": grader})
    assert response.json()["grader"]["headers"] == {"Authorization": "**********"}
    assert "secret" not in response.content.decode()


@pytest.mark.parametrize(
    ("grader", "param"),
    [
        (EXACT | {"operation": "almost"}, "grader.operation"),
        (EXACT | {"type": "oracle"}, "grader.type"),
        ({key: value for key, value in EXACT.items() if key != "input"}, "grader.input"),
        (EXACT | {"input": "{{nothing.here}}"}, "grader.input"),
        (MULTI | {"calculate_output": "exact + other"}, "grader.calculate_output"),
        (MULTI | {"graders": {"exact": EXACT | {"input": 1}}}, "grader.graders.exact.input"),
        ("string_check", "grader"),
        ([EXACT], "grader"),
    ],
)
@pytest.mark.parametrize("route", [VALIDATE, RUN])
def test_an_invalid_grader_is_400_with_the_path_of_the_field(api, error_of, route, grader, param):
    error = error_of(api.post(route, {"grader": grader, "model_sample": "x"}), 400)
    assert (error["param"], error["code"]) == (param, "invalid_grader")


@pytest.mark.parametrize(
    ("body", "param"), [({}, "grader"), ({"grader": None}, "grader"), ({"grader": EXACT}, "model_sample")]
)
def test_missing_parts_of_a_run_are_named(api, error_of, body, param):
    error = error_of(api.post(RUN, body), 400)
    assert (error["param"], error["code"]) == (param, "missing_required_parameter")


def test_a_run_gives_the_reward_and_all_flags(api, golden):
    body = run(api, MULTI, "5 apples").json()
    # exact 0, half ("5" is contained) 1: 0.5 * 0 + 0.5 * 1
    assert body["reward"] == 0.5
    assert body["sub_rewards"] == {"exact": 0.0, "half": 1.0}
    body["metadata"]["execution_time"] = 0
    golden("run", body)


def test_the_sample_is_graded_as_it_was_sent(api):
    assert run(api, EXACT, " 5 ").json()["reward"] == 0.0
    assert run(api, EXACT, "", {"answer": ""}).json()["reward"] == 1.0


def test_output_json_is_the_parsed_sample(api):
    grader = EXACT | {"input": "{{sample.output_json.answer}}"}
    assert run(api, grader, '{"answer": "5"}').json()["reward"] == 1.0
    failed = run(api, grader, "no json")
    assert failed.status_code == 200
    assert failed.json()["reward"] == 0.0
    assert failed.json()["metadata"]["errors"]["sample_parse_error"] is True


def test_a_missing_field_is_a_flag_not_an_http_error(api):
    body = run(api, EXACT, "5", {"other": 1}).json()
    assert body["reward"] == 0.0
    assert body["metadata"]["errors"]["invalid_variable_error"] is True


def test_mathematical_answers_are_compared(api):
    assert run(api, SAME_NUMBER, "so \\boxed{\\frac{10}{2}}").json()["reward"] == 1.0
    assert run(api, SAME_NUMBER, "\\boxed{6}").json()["reward"] == 0.0


def test_a_kind_that_cannot_run_here_is_400_and_names_what_can(api, error_of):
    grader = {**SIMILAR, "evaluation_metric": "cosine"}
    assert api.post(VALIDATE, {"grader": grader}).status_code == 200
    error = error_of(run(api, grader, "x"), 400)
    assert error["code"] == "invalid_grader"
    assert "fuzzy_match" in error["message"]


SIMILAR = {"type": "text_similarity", "name": "s", "input": "{{sample.output_text}}", "reference": "x"}
HALF = {
    "type": "python",
    "name": "p",
    "source": "def grade(sample, item):\n    print('hi')\n    return item['n'] / 2\n",
}


def test_a_python_grader_runs_in_the_sandbox_and_says_so(api):
    assert api.post(VALIDATE, {"grader": HALF}).json() == {"grader": HALF}
    body = run(api, HALF, "x", {"n": 1}).json()
    assert body["reward"] == 0.5
    assert body["fettle"]["notes"]["output"] == "hi\n"
    assert body["fettle"]["notes"]["sandbox"] == {
        "tier": api.get("/v1/fettle/sandbox").json()["tier"],
        "policy_version": api.get("/v1/fettle/sandbox").json()["policy_version"],
    }


def test_a_python_grader_that_fails_is_a_flag_with_its_line(api):
    body = run(api, HALF, "x", {"n": "one"}).json()
    errors = body["metadata"]["errors"]
    assert body["reward"] == 0.0
    assert errors["python_grader_runtime_error"] is True
    assert errors["python_grader_runtime_error_details"].startswith("exception: line 3, in grade: TypeError")
    assert errors["python_grader_server_error"] is False
    assert body["fettle"]["notes"]["output"] == "hi\n"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def grade(sample): return 1", "cannot be called with two positional arguments"),
        ("def grad(sample, item): return 1", "no function grade"),
        ("import scypi", "No module named 'scypi'"),
        ("def grade(sample, item) return 1", "line 1: SyntaxError"),
    ],
)
def test_a_source_that_does_not_load_is_refused_before_a_job_uses_it(api, error_of, source, found):
    grader = {"type": "multi", "graders": {"mine": {"type": "python", "source": source}}, "calculate_output": "mine"}
    error = error_of(api.post(VALIDATE, {"grader": grader}), 400)
    assert (error["code"], error["param"]) == ("invalid_grader", "grader.graders.mine.source")
    assert found in error["message"]


def test_the_sandbox_says_which_tier_runs_and_what_was_tried(api, anonymous, db, error_of):
    error_of(anonymous.get("/v1/fettle/sandbox"), 401)
    error_of(api.post("/v1/fettle/sandbox", {}), 405)
    status = api.get("/v1/fettle/sandbox").json()
    assert status["object"] == "fettle.sandbox"
    assert status["available"] is True
    assert status["reasons"][status["tier"]] == "in use: its self-test passed"
    assert status["limits"]["call_s"] == 30.0
    assert "no sockets of any family" in status["checks"]


def test_without_a_sandbox_code_is_503_and_the_rest_goes_on(api, error_of, monkeypatch):
    nothing = Sandbox(tiers=())
    monkeypatch.setattr(services, "shared_sandbox", lambda min_tier: nothing)
    multi = {"type": "multi", "graders": {"a": HALF, "b": EXACT}, "calculate_output": "a + b"}
    for grader, param in ((HALF, "grader"), (multi, "grader.graders.a")):
        error = error_of(api.post(VALIDATE, {"grader": grader}), 503)
        assert (error["code"], error["param"]) == ("sandbox_unavailable", param)
    assert error_of(run(api, HALF, "x", {"n": 1}), 503)["code"] == "sandbox_unavailable"
    status = api.get("/v1/fettle/sandbox").json()
    assert (status["tier"], status["available"]) == (None, False)
    assert run(api, EXACT, "5", {"answer": "5"}).json()["reward"] == 1.0


def test_a_sandbox_that_breaks_is_a_server_error_and_no_runtime_error(api, monkeypatch):
    sandbox = Sandbox(start=lambda *_: Worker(*_) if next(starts) < 2 else fail())
    starts = itertools.count()

    def fail():
        raise TierUnavailable("no more processes")

    monkeypatch.setattr(services, "shared_sandbox", lambda min_tier: sandbox)
    errors = run(api, HALF, "x", {"n": 1}).json()["metadata"]["errors"]
    sandbox.close()
    assert errors["python_grader_server_error"] is True
    assert errors["python_grader_server_error_type"] == "sandbox_failure"
    assert errors["python_grader_runtime_error"] is False


def test_a_kind_that_needs_a_group_says_so(api, error_of):
    assert api.post(VALIDATE, {"grader": {"type": "majority"}}).json()["grader"]["answer"] == "math"
    assert "preflight" in error_of(run(api, {"type": "majority"}, "5"), 400)["message"]


def test_an_answer_too_long_to_wait_for_is_400(api, error_of):
    assert error_of(run(api, EXACT, "x" * 1_000_001), 400)["param"] == "model_sample"


@pytest.mark.parametrize("route", [VALIDATE, RUN])
def test_key_and_method_are_needed(api, anonymous, db, error_of, route):
    error_of(anonymous.post(route, {"grader": EXACT}), 401)
    error_of(api.get(route), 405)


def test_the_official_client_validates_and_runs(openai_client):
    graders = openai_client.fine_tuning.alpha.graders
    assert graders.validate(grader=EXACT).grader.name == "exact"
    result = graders.run(grader=EXACT, model_sample="5", item={"answer": "5"})
    assert result.reward == 1.0
    assert result.metadata.errors.sample_parse_error is False


ENDPOINT = {"type": "endpoint", "name": "e", "headers": {"Authorization": "Bearer hush"}}


def test_a_remote_grader_of_an_allowed_network_is_asked(api, serve, reply, allow_loopback):
    server = serve(reply(200, {"score": 0.75}))
    assert run(api, ENDPOINT | {"url": server.url}, "5").json()["reward"] == 0.75
    assert server.asked[0].json["item"] == {"answer": "5"}
    assert server.asked[0].headers["authorization"] == "Bearer hush"


def test_a_private_address_is_a_flag_and_not_called(api, serve, reply):
    server = serve(reply(200, {"score": 1}))
    answer = run(api, ENDPOINT | {"url": server.url}, "5").json()
    assert (answer["reward"], answer["metadata"]["errors"]["other_error"]) == (0.0, True)
    assert server.asked == []


SCORE = {
    "type": "score_model",
    "name": "judge",
    "model": "gpt-judge",
    "input": [{"role": "user", "content": "{{sample.output_text}}"}],
    "range": [0, 10],
}


@pytest.fixture
def judge_server(serve, reply, change_env):
    """Answers as an operator's upstream and as our own model server."""
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    message = {"content": '{"steps": [], "result": 7}'}
    server = serve(reply(200, {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}))
    change_env(judges=(JudgeUpstream(base_url=f"{server.url}/v1", api_key="sk-hush", models=("gpt-judge",)),))
    return server


def test_a_judge_of_the_operator_gives_a_score_and_its_tokens(api, judge_server):
    answer = run(api, SCORE, "5").json()
    assert answer["reward"] == 7.0
    assert answer["metadata"]["token_usage"] == 5
    assert answer["model_grader_token_usage_per_model"]["gpt-judge"]["prompt_tokens"] == 3
    assert judge_server.asked[0].json["model"] == "gpt-judge"


def test_a_model_that_this_server_serves_is_a_judge_too(api, judge_server, change_env):
    change_env(inference_url=judge_server.url)
    assert run(api, SCORE | {"model": "fettle-tiny"}, "5").json()["reward"] == 7.0
    asked = judge_server.asked[0]
    assert (asked.path, asked.json["model"]) == ("/v1/chat/completions", "fettle-tiny")
    assert "authorization" not in asked.headers
    assert "maxItems" in str(asked.json["response_format"])


def test_another_organizations_model_is_no_judge(api, foreign_api, error_of, judge_server, change_env, other):
    change_env(inference_url=judge_server.url)
    Model.objects.create(
        project=other[0].project, public_id="ft:fettle-tiny:other::abc", created_at=timezone.now(),
        base_model="fettle-tiny", adapter_digest="d" * 64, job_id="ftjob-1", step=1, is_checkpoint=False,
    )  # fmt: skip
    theirs = SCORE | {"model": "ft:fettle-tiny:other::abc"}
    error = error_of(run(api, theirs, "5"), 400)
    assert (error["code"], error["param"]) == ("invalid_grader", "grader")
    assert judge_server.asked == []
    assert run(foreign_api, theirs, "5").json()["reward"] == 7.0
    assert judge_server.asked[0].json["model"] == f"ft-{'d' * 64}"


def test_a_judge_that_is_away_is_a_flag(api, judge_server, reply):
    judge_server.script[:] = [reply(401, b"no")]
    errors = run(api, SCORE, "5").json()["metadata"]["errors"]
    assert errors["model_grader_server_error"] is True
    assert errors["model_grader_server_error_details"] == "HTTP 401: no"


@pytest.fixture
def reward_model(change_env, tmp_path):
    """`mine` in the operator's catalogue."""
    models = tmp_path / "models.toml"
    models.write_text('[reward_models."mine"]\nsource = "/models/mine"\n')
    change_env(models_file=models)
    return {"type": "reward_model", "model": "mine", "prompt": "2 + 2", "activation": "none"}


def test_reward_models_are_named_by_the_operator_and_without_a_model_server_run_on_workers(api, error_of, reward_model):
    assert services_of_jobs() >= {"scorer"}
    assert "preflight" in error_of(run(api, reward_model, "5"), 400)["message"]
    grader_require_judges(spec=parse_grader(reward_model), scope=None, param="grader")
    with pytest.raises(InvalidRequest, match="there are: `mine`"):
        grader_require_judges(spec=parse_grader(reward_model | {"model": "theirs"}), scope=None, param="grader")


def test_the_model_server_scores_for_a_process_without_torch(api, serve, reply, reward_model, change_env):
    """Steps of log-odds 0 and ln 3: probabilities 1/2 and 3/4."""
    server = serve(reply(200, {"scores": [1.5], "fault": None}), reply(200, {"scores": [0.0, 1.0986122886681098]}))
    change_env(inference_url=server.url)
    assert run(api, reward_model, "4").json()["reward"] == 1.5
    asked = server.asked[0]
    assert (asked.path, asked.json) == ("/fettle/scores", {"model": "mine", "texts": ["2 + 2\n\n4"]})
    steps = {"type": "process", "model": "mine", "prompt": "2 + 2", "aggregate": "product"}
    assert run(api, steps, "two\n\nfour").json()["reward"] == pytest.approx(0.375)
    assert server.asked[1].json["texts"] == ["2 + 2\n\ntwo", "2 + 2\n\ntwo\n\nfour"]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, {"fault": {"flag": "model_grader_server_error", "message": "no head", "details": "no head"}}, "no head"),
        (404, b"not found", "HTTP 404 not found"),
        (200, b"<html>", "not one of `fettle infer`"),
        (200, {"scores": ["x"]}, "not one of `fettle infer`"),
    ],
)
def test_a_model_server_that_cannot_score_is_a_flag(api, serve, reply, reward_model, change_env, status, body, words):
    change_env(inference_url=serve(reply(status, body)).url)
    answer = run(api, reward_model, "4").json()
    assert answer["reward"] == 0.0
    assert answer["metadata"]["errors"]["model_grader_server_error"] is True
    assert words in answer["metadata"]["errors"]["model_grader_server_error_details"]


def test_the_model_server_embeds_for_a_process_without_torch(api, serve, reply, change_env, monkeypatch):
    """cos of (1, 0) and (0.6, 0.8) is 0.6."""
    monkeypatch.setattr("fettle_platform.graders.services.has_embeddings", lambda: True)
    server = serve(reply(200, {"vectors": [[1.0, 0.0], [0.6, 0.8]]}))
    change_env(inference_url=server.url)
    close = {
        "type": "text_similarity",
        "input": "{{sample.output_text}}",
        "reference": "b",
        "evaluation_metric": "cosine",
    }
    assert run(api, close | {"evaluation_metric": "cosine"}, "a").json()["reward"] == pytest.approx(0.6)
    assert (server.asked[0].path, server.asked[0].json) == ("/fettle/embeddings", {"texts": ["a", "b"]})
