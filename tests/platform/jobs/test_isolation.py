"""No route shows another organization's job or model, and every route wants a key and the right method."""

import pytest

ROUTES = [
    ("get", "/v1/fine_tuning/jobs/{job}"),
    ("post", "/v1/fine_tuning/jobs/{job}/cancel"),
    ("post", "/v1/fine_tuning/jobs/{job}/pause"),
    ("post", "/v1/fine_tuning/jobs/{job}/resume"),
    ("get", "/v1/fine_tuning/jobs/{job}/events"),
    ("get", "/v1/fine_tuning/jobs/{job}/checkpoints"),
    ("post", "/v1/fettle/fine_tuning/jobs/{job}/finish"),
    ("get", "/v1/fettle/fine_tuning/jobs/{job}/selection"),
    ("get", "/v1/fettle/fine_tuning/jobs/{job}/evaluations"),
    ("get", "/v1/fettle/fine_tuning/jobs/{job}/rollouts"),
    ("get", "/v1/fettle/fine_tuning/jobs/{job}/rollouts/groups"),
    ("get", "/v1/fettle/fine_tuning/jobs/{job}/metrics"),
    ("get", "/v1/models/{model}"),
    ("delete", "/v1/models/{model}"),
    ("get", "/v1/models/{model}:ckpt-step-4"),
    ("get", "/v1/fettle/models/{model}"),
    ("get", "/v1/fettle/models/{model}/adapter"),
    ("get", "/v1/files/{file}/content"),
    ("get", "/v1/fettle/preflight/{preflight}"),
    ("post", "/v1/fettle/preflight/{preflight}/cancel"),
    ("get", "/v1/fettle/preflight/{preflight}/events"),
    ("get", "/v1/fettle/preflight/{preflight}/rollouts"),
    ("get", "/v1/fettle/graders/{grader}"),
    ("delete", "/v1/fettle/graders/{grader}"),
    ("get", "/v1/fettle/graders/{grader}/versions"),
    ("get", "/v1/fettle/graders/{grader}/diff"),
    ("get", "/v1/fettle/graders/versions/{version}"),
]

_FETTLE = ("fine_tuning/", "models/", "preflight", "graders")  # accounts and webhooks walk their own


@pytest.fixture
def names(api, body, said, succeeded):
    job = succeeded().job
    grader = api.post("/v1/fettle/graders", {"name": "exact", "grader": said.grader}).json()
    return {
        "job": job.public_id,
        "model": job.fine_tuned_name,
        "file": job.result_file,
        "preflight": api.post("/v1/fettle/preflight", body()).json()["id"],
        "grader": grader["id"],
        "version": grader["newest"]["id"],
    }


def test_every_route_of_the_schema_is_in_the_walk(api):
    paths = api.get("/v1/openapi.json").json()["paths"]
    own = ("/v1/fine_tuning/jobs/", "/v1/models/", *(f"/v1/fettle/{name}" for name in _FETTLE))
    mine = {path for path in paths if path.startswith(own) and "{" in path}
    walked = {path.split("{")[0] + path.rsplit("}", 1)[1].replace(":ckpt-step-4", "") for _, path in ROUTES}
    assert {path.split("{")[0] + path.rsplit("}", 1)[1] for path in mine} <= walked


@pytest.mark.parametrize(("verb", "path"), ROUTES)
def test_a_foreign_key_sees_what_is_not_there(api, foreign_api, names, error_of, verb, path):
    foreign = error_of(getattr(foreign_api, verb)(path.format(**names)), 404)
    nothing = {key: value[:-4] + "0000" for key, value in names.items()}
    missing = error_of(getattr(api, verb)(path.format(**nothing)), 404)
    for key, value in nothing.items():
        missing["message"] = missing["message"].replace(value, names[key])
    # The list of models that do exist is each caller's own.
    assert foreign["message"].split("Available:")[0] == missing["message"].split("Available:")[0]
    assert foreign["code"] == missing["code"]


@pytest.mark.parametrize(("verb", "path"), ROUTES)
def test_without_a_key_nothing_is_shown(anonymous, names, error_of, verb, path):
    error_of(getattr(anonymous, verb)(path.format(**names)), 401)


@pytest.mark.parametrize(("verb", "path"), ROUTES)
def test_a_wrong_method_is_said_in_the_envelope(api, names, error_of, verb, path):
    error_of(api.put(path.format(**names), {}), 405)


def test_lists_hold_only_the_callers_own(foreign_api, names):
    assert foreign_api.get("/v1/fine_tuning/jobs").json()["data"] == []
    assert [model["id"] for model in foreign_api.get("/v1/models").json()["data"]] == ["fettle-tiny"]


def test_a_foreign_file_or_model_cannot_be_trained_with(foreign_api, body, other, names, error_of):
    foreign = other[0]
    error = error_of(foreign_api.post("/v1/fine_tuning/jobs", body()), 400)
    assert error["code"] == "file_not_found"
    error = error_of(foreign_api.post("/v1/fine_tuning/jobs", body(owner=foreign, model=names["model"])), 404)
    assert error["code"] == "model_not_found"
