"""The gateway in front of a real small model server, through the official client and through plain HTTP."""

import socket
import time

import httpx
import openai
import pytest
from django.db.backends.signals import connection_created
from django.utils import timezone

from fettle_platform.inference import limits

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hi"}]


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_tuned_model_is_asked_by_its_upstream_name_and_answers_by_its_own(openai_client, upstream, tuned):
    name, upstream_name = tuned
    answer = openai_client.chat.completions.create(model=name, messages=MESSAGES, seed=3, user="u")
    assert answer.model == name
    assert answer.choices[0].message.content == "Hello"
    assert answer.choices[0].message.reasoning_content == "Hm."
    assert upstream.requests == [{"model": upstream_name, "messages": MESSAGES, "seed": 3}]


def test_a_model_shared_by_a_permission_answers_and_another_projects_does_not(
    openai_client, upstream, scope, tuned, server
):
    from fettle_platform.accounts.models import Project
    from fettle_platform.accounts.services import api_key_create
    from fettle_platform.registry.services import permissions_grant

    name, upstream_name = tuned
    sister = Project.objects.create(organization=scope.organization, name="sister")
    _, key = api_key_create(project=sister, name="test")
    with openai.OpenAI(base_url=f"{server}/v1", api_key=key, max_retries=0) as client:
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model=name, messages=MESSAGES)
        permissions_grant(scope=scope, public_id=name, project_ids=[sister.public_id], now=timezone.now())
        assert client.chat.completions.create(model=name, messages=MESSAGES).model == name
    assert [request["model"] for request in upstream.requests] == [upstream_name]


def test_a_base_model_goes_by_its_catalogue_name(openai_client, upstream):
    assert openai_client.chat.completions.create(model="fettle-tiny", messages=MESSAGES).model == "fettle-tiny"
    assert upstream.requests[0]["model"] == "fettle-tiny"


def test_a_stream_is_passed_on_chunk_by_chunk_with_the_public_name(openai_client, upstream, tuned):
    name, _ = tuned
    upstream.release.clear()  # holds the second chunk back
    stream = openai_client.chat.completions.create(model=name, messages=MESSAGES, stream=True)
    first = next(stream)
    assert first.choices[0].delta.content == "Hel"
    upstream.release.set()
    rest = list(stream)
    assert [chunk.model for chunk in (first, *rest)] == [name] * 3
    assert rest[-1].choices[0].finish_reason == "stop"


def test_an_open_stream_holds_no_database_connection(openai_client, upstream):
    opened = []

    def note(connection, **_):
        opened.append(connection)

    connection_created.connect(note)
    try:
        upstream.release.clear()
        stream = openai_client.chat.completions.create(model="fettle-tiny", messages=MESSAGES, stream=True)
        next(stream)
        assert opened
        assert [connection.connection for connection in opened] == [None] * len(opened)
    finally:
        upstream.release.set()
        connection_created.disconnect(note)
    list(stream)


def test_a_stream_ends_with_done(http, upstream):
    with http.stream("POST", CHAT, json={"model": "fettle-tiny", "messages": MESSAGES, "stream": True}) as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["x-request-id"]
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"


def test_a_client_that_leaves_a_stream_ends_it_at_the_model_server(http, upstream):
    upstream.release.clear()
    with http.stream("POST", CHAT, json={"model": "fettle-tiny", "messages": MESSAGES, "stream": True}) as response:
        next(response.iter_lines())
    assert upstream.left.wait(20)


def test_a_client_that_leaves_before_the_answer_ends_the_request(server, api_key, scope, upstream):
    upstream.release.clear()
    with (
        httpx.Client(base_url=server, headers={"authorization": f"Bearer {api_key}"}) as client,
        pytest.raises(httpx.ReadTimeout),
    ):
        client.post(CHAT, json={"model": "fettle-tiny", "messages": MESSAGES}, timeout=1)
    assert upstream.arrived.is_set()
    assert upstream.left.wait(20)
    wait_until(lambda: limits.num_in_flight(scope.api_key.public_id) == 0)


def test_a_stream_that_breaks_off_says_so_and_the_official_client_raises(openai_client, upstream):
    upstream.break_after = 1
    stream = openai_client.chat.completions.create(model="fettle-tiny", messages=MESSAGES, stream=True)
    assert next(stream).choices[0].delta.content == "Hel"
    with pytest.raises(openai.APIError, match="model server"):
        list(stream)


def test_a_model_server_that_is_away_is_a_503_with_retry_after(http, change_env, error_of):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    change_env(inference_url=f"http://127.0.0.1:{port}")
    response = http.post(CHAT, json={"model": "fettle-tiny", "messages": MESSAGES})
    assert error_of(response, 503)["code"] == "model_server_unavailable"
    assert int(response.headers["retry-after"]) > 0


def test_without_a_model_server_the_operator_is_told(http, change_env, error_of):
    change_env(inference_url=None)
    error = error_of(http.post(CHAT, json={"model": "fettle-tiny", "messages": MESSAGES}), 503)
    assert "FETTLE_INFERENCE_URL" in error["message"]


@pytest.mark.parametrize(
    ("status", "body", "seen", "code"),
    [
        (
            400,
            {"error": {"message": "too long", "type": "t", "param": "messages", "code": "context_length_exceeded"}},
            400,
            "context_length_exceeded",
        ),
        (400, {"object": "error", "message": "too long", "code": 400}, 400, "invalid_value"),
        (404, {"error": {"message": "no such model"}}, 502, "upstream_error"),
        (429, {"error": {"message": "busy"}}, 429, "rate_limit_exceeded"),
        (500, "trace of secrets", 502, "upstream_error"),
        (503, {"error": {"message": "loading the model"}}, 503, "model_server_unavailable"),
    ],
)
def test_refusals_of_the_model_server_become_ours(http, upstream, error_of, status, body, seen, code):
    upstream.status, upstream.error = status, body
    response = http.post(CHAT, json={"model": "fettle-tiny", "messages": MESSAGES})
    error = error_of(response, seen)
    assert error["code"] == code
    assert "secrets" not in error["message"]
    assert ("retry-after" in response.headers) == (seen in (429, 503))


def test_who_may_not_see_a_model_cannot_ask_it(server, other, upstream, tuned, error_of):
    headers = {"authorization": f"Bearer {other[1]}"}
    response = httpx.post(f"{server}{CHAT}", headers=headers, json={"model": tuned[0], "messages": MESSAGES})
    assert error_of(response, 404)["code"] == "model_not_found"
    assert upstream.requests == []


def test_no_key_and_wrong_method(server, http, upstream, error_of):
    error_of(httpx.post(f"{server}{CHAT}", json={"model": "fettle-tiny", "messages": MESSAGES}), 401)
    error_of(http.get(CHAT), 405)
    assert upstream.requests == []


def test_a_bad_request_never_reaches_the_model_server(http, upstream, error_of):
    error_of(http.post(CHAT, json={"model": "fettle-tiny", "messages": MESSAGES, "n": 99}), 400)
    assert upstream.requests == []


def test_a_key_with_too_many_requests_in_the_air_waits(http, upstream, scope, error_of):
    owner = scope.api_key.public_id
    slots = [limits.take_slot(owner) for _ in range(limits.MAX_CONCURRENT)]
    response = http.post(CHAT, json={"model": "fettle-tiny", "messages": MESSAGES})
    assert error_of(response, 429)["code"] == "rate_limit_exceeded"
    assert response.headers["retry-after"] == "1"
    for slot in slots:
        slot.release()
        slot.release()  # twice is once
    assert http.post(CHAT, json={"model": "fettle-tiny", "messages": MESSAGES}).status_code == 200
    assert limits.num_in_flight(owner) == 0


def test_it_is_in_the_documented_api(api):
    assert "post" in api.get("/v1/openapi.json").json()["paths"]["/v1/chat/completions"]
