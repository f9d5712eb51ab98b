"""Judges behind OpenAI-compatible servers: what is sent, what is tried again, what is counted."""

from __future__ import annotations

import json

import pytest

from fettle_graders.errors import GradeFailure
from fettle_graders.judge import verdict_schema
from fettle_graders.services import JudgeRequest
from fettle_graders.spec import parse_grader
from fettle_workers.adapters.judge import ControlPlaneJudge
from fettle_workers.contract.internal import JudgeAccess
from fettle_workers.egress.judge import AllowedJudges, JudgeUpstream, OpenAIJudge

SPEC = parse_grader({"type": "score_model", "model": "m", "input": [{"role": "user", "content": "x"}]})
REQUEST = JudgeRequest(
    model="m",
    messages=({"role": "user", "content": "Rate."},),
    json_schema=verdict_schema(SPEC),
    sampling={"temperature": 0, "max_completion_tokens": 50, "reasoning_effort": "low"},
)


def completion(content="{}", **choice):
    message = {"role": "assistant", "content": content, **choice.pop("message", {})}
    usage = {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 5},
    }
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}], "usage": usage}


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def judge(waits):
    made = []

    def judge_(server, **fields) -> OpenAIJudge:
        made.append(OpenAIJudge(f"{server.url}/v1", "hush", sleep=waits.append, timeout_s=1, **fields))
        return made[-1]

    yield judge_
    for one in made:
        one.close()


def test_a_question_is_a_chat_completion_with_the_schema_of_its_verdict(judge, serve, reply) -> None:
    server = serve(reply(200, completion('{"result": 1}')))
    answer = judge(server, name_of=lambda name: f"upstream-{name}").ask(REQUEST)
    assert (answer.text, answer.model, answer.refusal, answer.is_cut_off) == ('{"result": 1}', "m", None, False)
    assert answer.usage.model_dump() == {
        "prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9, "cached_tokens": 5,
    }  # fmt: skip
    (asked,) = server.asked
    assert (asked.path, asked.headers["authorization"]) == ("/v1/chat/completions", "Bearer hush")
    assert asked.json == {
        "model": "upstream-m",
        "messages": [{"role": "user", "content": "Rate."}],
        "temperature": 0,
        "max_completion_tokens": 50,
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "verdict", "strict": True, "schema": REQUEST.json_schema},
        },
    }


def test_our_own_server_gets_bounds_in_the_schema_and_texts_only(judge, serve, reply) -> None:
    server = serve(reply(200, completion()))
    ours = judge(server, is_bounded=True)
    ours.ask(REQUEST.model_copy(update={"sampling": {}}))
    steps = server.asked[0].json["response_format"]["json_schema"]["schema"]["properties"]["steps"]
    assert (steps["maxItems"], steps["items"]["properties"]["conclusion"]["maxLength"]) == (4, 200)
    assert "maxItems" not in json.dumps(REQUEST.json_schema)
    ours.ask(REQUEST.model_copy(update={"sampling": {"max_completion_tokens": 200}}))
    tight = server.asked[1].json["response_format"]["json_schema"]["schema"]["properties"]["steps"]
    assert (tight["maxItems"], tight["items"]["properties"]["conclusion"]["maxLength"]) == (1, 25)
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]}
    with pytest.raises(GradeFailure, match="text only"):
        ours.ask(REQUEST.model_copy(update={"messages": (image,)}))
    assert len(server.asked) == 2


def test_a_busy_judge_is_asked_again_after_the_time_it_asks_for(judge, serve, reply, waits) -> None:
    server = serve(reply(429, {}, {"Retry-After": "7"}), reply(503), reply(500), reply(200, completion("1")))
    assert judge(server).ask(REQUEST).text == "1"
    assert waits[0] == 7.0
    assert 0.5 <= waits[1] <= 1.5
    assert 1.0 <= waits[2] <= 3.0


def test_after_four_tries_the_grade_fails_with_what_the_judge_said(judge, serve, reply, waits) -> None:
    server = serve(reply(503, b"overloaded, key hush"))
    with pytest.raises(GradeFailure, match="after 4 tries: HTTP 503: overloaded, key") as caught:
        judge(server).ask(REQUEST)
    assert caught.value.flag == "model_grader_server_error"
    assert caught.value.details == "after 4 tries: HTTP 503: overloaded, key ***"
    assert (len(server.asked), len(waits)) == (4, 3)


def test_a_judge_that_hangs_is_tried_again(judge, serve, reply) -> None:
    server = serve(lambda handler, asked: handler.connection.recv(1), reply(200, completion("1")))
    assert judge(server).ask(REQUEST).text == "1"


@pytest.mark.parametrize("status", [401, 403, 404, 422, 301])
def test_a_refused_question_is_final(judge, serve, reply, status: int) -> None:
    server = serve(reply(status, {"error": {"message": "no"}}, {"Location": "/x"} if status == 301 else None))
    with pytest.raises(GradeFailure, match=f"HTTP {status}"):
        judge(server).ask(REQUEST)
    assert len(server.asked) == 1


def test_a_server_without_structured_outputs_is_asked_without_from_then_on(judge, serve, reply, waits) -> None:
    server = serve(reply(400, {"error": {"message": "response_format is not supported"}}), reply(200, completion("1")))
    one = judge(server)
    assert one.ask(REQUEST).text == "1"
    one.ask(REQUEST)
    assert ["response_format" in asked.json for asked in server.asked] == [True, False, False]


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (completion(None, message={"refusal": "I can't"}), "I can't"),
        (completion("", finish_reason="content_filter"), "its content filter stopped it"),
    ],
)
def test_refusals_are_told_apart(judge, serve, reply, body, refusal: str) -> None:
    assert judge(serve(reply(200, body))).ask(REQUEST).refusal == refusal


def test_an_answer_cut_off_is_told_apart(judge, serve, reply) -> None:
    assert judge(serve(reply(200, completion("{", finish_reason="length")))).ask(REQUEST).is_cut_off


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": 1}]}'])
def test_what_is_no_completion_is_a_server_error(judge, serve, reply, body: bytes) -> None:
    with pytest.raises(GradeFailure, match="no chat completion") as caught:
        judge(serve(reply(200, body))).ask(REQUEST)
    assert caught.value.flag == "model_grader_server_error"


def test_only_models_that_the_operator_named_are_asked(serve, reply) -> None:
    first, second = serve(reply(200, completion("1"))), serve(reply(200, completion("2")))
    judges = AllowedJudges(
        [
            JudgeUpstream(base_url=f"{first.url}/v1/", api_key="k1", models=("m", "n")),
            JudgeUpstream(base_url=f"{second.url}/v1", models=("m", "o")),
        ]
    )
    answers = [judges.ask(REQUEST.model_copy(update={"model": name})).text for name in ("m", "n", "o")]
    assert answers == ["1", "1", "2"]
    assert first.asked[0].headers["authorization"] == "Bearer k1"
    assert "authorization" not in second.asked[0].headers
    with pytest.raises(GradeFailure, match="there are: m, n, o"):
        judges.ask(REQUEST.model_copy(update={"model": "other"}))


def test_a_trainer_asks_through_the_control_plane_with_its_narrow_token(serve, reply, waits) -> None:
    answered = {"answer": {"text": "1", "model": "m"}}
    server = serve(reply(503), reply(200, answered), reply(200, {"failure": "no such judge", "details": "d"}))
    access = JudgeAccess(control_plane_url=server.url, attempt=3, token="judge-token")
    judge = ControlPlaneJudge(access, "ftjob-1", sleep=waits.append)
    assert judge.ask(REQUEST).text == "1"
    asked = server.asked[-1]
    assert (asked.path, asked.headers["authorization"]) == ("/internal/jobs/ftjob-1/judge", "Bearer judge-token")
    assert asked.json == {"attempt": 3, "request": json.loads(REQUEST.model_dump_json())}
    assert len(waits) == 1
    with pytest.raises(GradeFailure, match="no such judge") as caught:
        judge.ask(REQUEST)
    assert (caught.value.flag, caught.value.details) == ("model_grader_server_error", "d")


def test_an_attempt_that_is_over_asks_nothing_more(serve, reply, waits) -> None:
    server = serve(reply(410, {"error": {"message": "over"}}))
    judge = ControlPlaneJudge(JudgeAccess(control_plane_url=server.url, attempt=1, token="t"), "j", sleep=waits.append)
    with pytest.raises(GradeFailure, match="HTTP 410"):
        judge.ask(REQUEST)
    assert (len(server.asked), waits) == (1, [])
