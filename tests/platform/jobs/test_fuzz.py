"""Whatever JSON arrives, the answer is a job or an error that names the field; never a fault of the server."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fettle_platform.core.errors import InvalidRequest
from fettle_platform.inference.requests import parse_chat_request
from fettle_platform.jobs.requests import parse_job_request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
GRADER = {"type": "string_check", "input": "{{sample.output_text}}", "reference": "{{item.a}}", "operation": "eq"}
JOB = {
    "model": "fettle-tiny",
    "training_file": "file-a",
    "validation_file": "file-b",
    "suffix": "s",
    "seed": 1,
    "metadata": {"k": "v"},
    "integrations": [{"type": "wandb", "wandb": {"project": "p", "tags": ["t"]}}],
    "hyperparameters": {},
    "fettle": {},
    "method": {
        "type": "reinforcement",
        "reinforcement": {
            "grader": {"type": "multi", "graders": {"ok": GRADER}, "calculate_output": "ok"},
            "hyperparameters": {"n_epochs": 3, "batch_size": "auto"},
            "response_format": {"type": "json_schema", "json_schema": {"name": "o", "schema": {}}},
        },
    },
}
CHAT = {
    "model": "m",
    "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    "stop": ["a"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "o", "schema": {}}},
    "logit_bias": {"1": 1},
}


def paths(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@settings(max_examples=400, deadline=None, derandomize=True)
@given(path=st.sampled_from(list(paths(JOB))), new=JSON)
def test_any_value_anywhere_in_a_job(path, new):
    try:
        parse_job_request(replaced(JOB, path, new))
    except InvalidRequest as error:
        refused = error
    else:
        refused = None
    assert refused is None or (refused.code and refused.message)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(path=st.sampled_from(list(paths(CHAT))), new=JSON)
def test_any_value_anywhere_in_a_chat_completion(path, new):
    try:
        parse_chat_request(json.dumps(replaced(CHAT, path, new)).encode()).upstream_body("up")
    except InvalidRequest as error:
        refused = error
    else:
        refused = None
    assert refused is None or (refused.code and refused.message)


@pytest.mark.parametrize("bad", ["0", "-1", "x", "1e9", "９", "99999999999999999999", ""])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/fine_tuning/jobs",
        "/v1/fine_tuning/jobs/{job}/events",
        "/v1/fine_tuning/jobs/{job}/checkpoints",
        "/v1/fettle/fine_tuning/jobs/{job}/evaluations",
        "/v1/fettle/fine_tuning/jobs/{job}/rollouts",
        "/v1/fettle/fine_tuning/jobs/{job}/metrics",
        "/v1/fettle/fine_tuning/jobs",
    ],
)
def test_a_limit_that_is_none_is_refused(api, create, error_of, path, bad):
    response = api.get(path.format(job=create().public_id), {"limit": bad})
    assert error_of(response, 400)["param"] == "limit"


@pytest.mark.parametrize("after", ["x", "rollout-1", "rollout-1-x", "step-", "step-x", "ftjob-nope", "-", "%00"])
@pytest.mark.parametrize("page", ["events", "checkpoints", "evaluations", "rollouts"])
def test_an_unknown_cursor_is_refused(api, create, error_of, page, after):
    own = page in ("evaluations", "rollouts")
    base = f"/v1/{'fettle/' if own else ''}fine_tuning/jobs/{create().public_id}/{page}"
    assert error_of(api.get(f"{base}?after={after}"), 400)["code"] == "invalid_value"
