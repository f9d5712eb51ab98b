"""What `POST /v1/fine_tuning/jobs` accepts, and how it says no."""

import pytest

JOBS = "/v1/fine_tuning/jobs"


def reinforcement(grader, **fields):
    return {"type": "reinforcement", "reinforcement": {"grader": grader} | fields}


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"model": ...}, "missing_required_parameter", "model"),
        ({"model": 3}, "invalid_type", "model"),
        ({"training_file": ...}, "missing_required_parameter", "training_file"),
        ({"training_file": "file-none"}, "file_not_found", "training_file"),
        ({"validation_file": "file-none"}, "file_not_found", "validation_file"),
        ({"validation_file": None}, "missing_required_parameter", "validation_file"),
        ({"suffix": ""}, "invalid_value", "suffix"),
        ({"suffix": "x" * 65}, "invalid_value", "suffix"),
        ({"seed": -1}, "invalid_value", "seed"),
        ({"seed": 2**31}, "invalid_value", "seed"),
        ({"seed": "7"}, "invalid_type", "seed"),
        ({"seed": True}, "invalid_type", "seed"),
        ({"seed": 10**30}, "invalid_value", "seed"),
        ({"metadata": {"k": 1}}, "invalid_type", "metadata.k"),
        ({"metadata": {f"k{i}": "v" for i in range(17)}}, "invalid_value", "metadata"),
        ({"metadata": {"k": "v" * 513}}, "invalid_value", "metadata.k"),
        ({"integrations": [{"type": "mlflow"}]}, "invalid_value", "integrations.0.type"),
        (
            {"integrations": [{"type": "wandb", "wandb": {}}]},
            "missing_required_parameter",
            "integrations.0.wandb.project",
        ),
        ({"sufix": "a"}, "unknown_parameter", "sufix"),
        ({"fettle": {"validation_splitt": 0.2}}, "unknown_parameter", "fettle.validation_splitt"),
        ({"fettle": {"validation_split": 0.2}}, "invalid_value", "fettle.validation_split"),
        ({"hyperparameters": {"n_epochs": 3}}, "invalid_value", "hyperparameters"),
        ({"method": "reinforcement"}, "invalid_type", "method"),
        ({"method": {}}, "missing_required_parameter", "method.type"),
        ({"method": {"type": "ppo"}}, "invalid_value", "method.type"),
        ({"method": {"type": "dpo", "dpo": {}}}, "invalid_value", "method.type"),
        ({"method": {"type": ["dpo"]}}, "invalid_value", "method.type"),
        ({"method": {"type": "reinforcement"}}, "missing_required_parameter", "method.reinforcement"),
        ({"method": {"type": "reinforcement", "reinforcement": []}}, "invalid_type", "method.reinforcement"),
        (
            {"method": {"type": "reinforcement", "reinforcement": {}}},
            "missing_required_parameter",
            "method.reinforcement.grader",
        ),
        ({"method": {"type": "supervised", "reinforcement": {"a": 1}}}, "unknown_parameter", "method.reinforcement"),
    ],
)
def test_a_wrong_field_is_refused_by_its_path(api, body, error_of, fields, code, param):
    error = error_of(api.post(JOBS, body(**fields)), 400)
    assert (error["code"], error["param"]) == (code, param), error


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("n_epochs", 0, '"auto" or an integer of at least 1 and at most 10000'),
        ("n_epochs", 10_001, "at most 10000"),
        ("n_epochs", "3", '"auto" or an integer'),
        ("n_epochs", 1.5, "an integer"),
        ("batch_size", 257, "at most 256"),
        ("learning_rate_multiplier", 0, "greater than 0"),
        ("learning_rate_multiplier", 1e300, "at most 1000"),
        ("compute_multiplier", 10.5, "at most 10"),
        ("eval_interval", 0, "at least 1"),
        ("eval_samples", 257, "at most 256"),
        ("reasoning_effort", "auto", '"default", "low", "medium", "high"'),
        ("lora_rank", 17, "8, 16, 32, 64, 128"),
        ("early_stopping", 1, "true or false"),
        ("updates_per_rollout", 5, "at most 4"),
        ("length_penalty", 1.5, "at most 1"),
    ],
)
def test_a_hyperparameter_out_of_range_names_what_is_allowed(api, body, said, error_of, name, value, words):
    method = reinforcement(said.grader, hyperparameters={name: value})
    error = error_of(api.post(JOBS, body(method=method)), 400)
    assert error["param"] == f"method.reinforcement.hyperparameters.{name}"
    assert words in error["message"]


def test_a_mistyped_hyperparameter_is_an_error_with_a_suggestion(api, body, said, error_of):
    method = reinforcement(said.grader, hyperparameters={"n_epoch": 3})
    error = error_of(api.post(JOBS, body(method=method)), 400)
    assert error["code"] == "unknown_parameter"
    assert "Did you mean `n_epochs`?" in error["message"]


def test_the_limits_are_fettles_own(api, body, said):
    wanted = {"n_epochs": 10_000, "batch_size": 256, "compute_multiplier": 10, "group_size": 8, "early_stopping": False}
    response = api.post(JOBS, body(method=reinforcement(said.grader, hyperparameters=wanted)))
    echoed = response.json()["method"]["reinforcement"]["hyperparameters"]
    assert {name: echoed[name] for name in wanted} == wanted


def test_dpo_is_refused_with_the_methods_there_are(api, body, error_of):
    error = error_of(api.post(JOBS, body(method={"type": "dpo", "dpo": {}})), 400)
    assert "`reinforcement`, `supervised`" in error["message"]


def test_an_invalid_grader_names_the_field_inside_it(api, body, error_of, said):
    error = error_of(api.post(JOBS, body(method=reinforcement(said.grader | {"operation": "equal"}))), 400)
    assert error["code"] == "invalid_grader"
    assert error["param"] == "method.reinforcement.grader.operation"


def test_a_grader_that_cannot_run_here_is_refused_before_anything_is_spent(api, body, error_of):
    cosine = {"type": "text_similarity", "input": "a", "reference": "b", "evaluation_metric": "cosine"}
    error = error_of(api.post(JOBS, body(method=reinforcement(cosine))), 400)
    assert (error["code"], error["param"]) == ("unsupported_grader", "method.reinforcement.grader")


def test_a_python_grader_that_does_not_load_is_refused_before_anything_is_spent(api, body, error_of):
    python = {"type": "python", "source": "def grade(sample):\n    return 1.0"}
    error = error_of(api.post(JOBS, body(method=reinforcement(python))), 400)
    assert (error["code"], error["param"]) == ("invalid_grader", "method.reinforcement.grader.source")


@pytest.mark.parametrize(
    "graders",
    [
        lambda grader: {"ok": grader},
        lambda grader: [grader | {"name": "ok"}],
        lambda grader: grader | {"name": "ok"},
    ],
)
def test_multi_graders_come_in_three_shapes_and_are_echoed_as_a_map(api, body, said, graders):
    multi = {"type": "multi", "graders": graders(said.grader), "calculate_output": "ok"}
    echoed = api.post(JOBS, body(method=reinforcement(multi))).json()["method"]["reinforcement"]["grader"]
    assert list(echoed["graders"]) == ["ok"]


def test_response_format_comes_in_two_shapes_and_is_echoed_nested(api, body, said):
    inner = {"name": "out", "schema": {"type": "object"}, "strict": True}
    nested = {"type": "json_schema", "json_schema": inner}
    for given in (nested, {"type": "json_schema", **inner}):
        method = reinforcement(said.grader, response_format=given)
        assert api.post(JOBS, body(method=method)).json()["method"]["reinforcement"]["response_format"] == nested


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"type": "xml"}, "type"),
        ({"type": "json_schema"}, "schema"),
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": 3}}, "json_schema.schema"),
        ("json", "type"),
    ],
)
def test_a_wrong_response_format_is_refused(api, body, said, error_of, given, param):
    error = error_of(api.post(JOBS, body(method=reinforcement(said.grader, response_format=given))), 400)
    assert error["param"] == f"method.reinforcement.response_format.{param}"


def test_supervised_hyperparameters_may_stand_at_the_top(api, body):
    response = api.post(JOBS, body(method=..., validation_file=..., hyperparameters={"n_epochs": 3}))
    job = response.json()
    assert job["method"]["type"] == "supervised"
    assert job["hyperparameters"]["n_epochs"] == 3
    assert job["hyperparameters"]["batch_size"] == "auto"


def test_a_validation_split_stands_in_for_the_file(api, body):
    response = api.post(JOBS, body(validation_file=..., fettle={"validation_split": 0.25}))
    assert response.json()["fettle"]["validation_split"] == 0.25
    assert response.json()["validation_file"] is None


def test_a_seed_is_made_when_none_is_given(api, body):
    seeds = {api.post(JOBS, body(seed=...)).json()["seed"] for _ in range(3)}
    assert len(seeds) == 3
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_a_file_of_another_purpose_is_refused(api, body, upload, error_of, said):
    file_id = upload(said.rows(2), purpose="user_data")
    error = error_of(api.post(JOBS, body(training_file=file_id)), 400)
    assert error["param"] == "training_file"
    assert "`fine-tune`" in error["message"]


def test_an_unknown_model_is_answered_with_those_there_are(api, body, error_of):
    error = error_of(api.post(JOBS, body(model="gpt-nope")), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "`fettle-tiny`" in error["message"]


def test_wandb_is_kept_and_the_job_says_that_nothing_is_sent(api, body):
    wanted = [{"type": "wandb", "wandb": {"project": "p", "name": None, "entity": None, "tags": ["a"]}}]
    job = api.post(JOBS, body(integrations=wanted)).json()
    assert job["integrations"] == wanted
    events = api.get(f"{JOBS}/{job['id']}/events").json()["data"]
    assert any(event["level"] == "warn" and "Weights & Biases" in event["message"] for event in events)


def test_a_suffix_becomes_a_safe_part_of_the_models_name(create):
    assert create(suffix="my model: v2/ä").fine_tuned_name.startswith("ft:fettle-tiny:acme:my-model-v2-:")


def test_secrets_of_a_grader_are_masked_on_every_echo(scope, upload, said):
    from fettle_platform.jobs.models import Job
    from fettle_platform.jobs.wire import job_to_wire

    endpoint = {"type": "endpoint", "name": "e", "url": "https://x.test", "headers": {"Authorization": "s3cret"}}
    data = {"file_id": "f", "key": "files/f", "sha256": "0", "size_bytes": 1}
    spec = {"job_id": "j", "base_model": "b", "seed": 1, "training_file": data, "method": {"type": "reinforcement"}}
    spec["method"]["grader"] = endpoint
    job = Job(public_id="ftjob-1", project=scope.project, created_at=said.now, method="reinforcement", spec=spec)
    assert "s3cret" not in str(job_to_wire(job))
    assert job_to_wire(job)["method"]["reinforcement"]["grader"]["headers"] == {"Authorization": "*" * 10}


def test_jobs_are_found_by_their_metadata(api, create):
    first = create(metadata={"team": "a", "run": "1"}).public_id
    second = create(metadata={"team": "a", "run": "__in"}).public_id
    without = create().public_id

    def found(query):
        return [job["id"] for job in api.get(f"{JOBS}?{query}").json()["data"]]

    assert found("") == [without, second, first]
    assert found("metadata[team]=a") == [second, first]
    assert found("metadata%5Bteam%5D=a&metadata%5Brun%5D=1") == [first]
    assert found("metadata[team]=b") == []
    assert found("metadata[run]=__in") == [second]
    assert found("metadata=null") == [without]


def test_a_silent_retry_of_the_client_makes_no_second_job(api, body):
    request = body()
    first = api.post(JOBS, request, headers={"x-stainless-retry-count": "0"}).json()["id"]
    again = api.post(JOBS, request, headers={"x-stainless-retry-count": "1"}).json()["id"]
    on_purpose = api.post(JOBS, request, headers={"x-stainless-retry-count": "0"}).json()["id"]
    assert again == first
    assert on_purpose != first


def test_an_idempotency_key_makes_one_job(api, body):
    request = body()
    ids = {api.post(JOBS, request, headers={"Idempotency-Key": "k"}).json()["id"] for _ in range(2)}
    assert len(ids) == 1


def test_a_grader_that_runs_what_the_model_wrote_is_warned_of(api, body):
    runs = {"type": "python", "source": "def grade(sample, item):\n    return eval(sample['output_text'])\n"}
    reads = {"type": "python", "source": "def grade(sample, item):\n    return len(sample['output_text'])\n"}
    grader = {"type": "multi", "graders": {"runs": runs, "reads": reads}, "calculate_output": "runs + reads"}
    job = api.post(
        "/v1/fine_tuning/jobs",
        body(method={"type": "reinforcement", "reinforcement": {"grader": grader}}),
        format="json",
    ).json()
    events = api.get(f"/v1/fine_tuning/jobs/{job['id']}/events").json()["data"]
    (warning,) = [event for event in events if event["level"] == "warn"]
    assert warning["data"] == {"code": "grader_runs_text", "grader": "runs", "line": 2}
    assert "the kind `code`" in warning["message"]
