import pytest

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
    grader = {"type": "python", "name": "p", "source": "def grade(sample, item):\n    return 1.0"}
    assert api.post(VALIDATE, {"grader": grader}).status_code == 200
    error = error_of(run(api, grader, "x"), 400)
    assert error["code"] == "invalid_grader"
    assert "string_check" in error["message"]


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
