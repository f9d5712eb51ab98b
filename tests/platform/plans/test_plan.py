"""`POST /v1/fettle/plan`: the job's frozen form goes to the model server, and its words come back."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

GRADER = {"type": "string_check", "operation": "eq", "input": "{{sample.output_text}}", "reference": "{{item.answer}}"}
PLAN = {"plan": {"n_epochs": 30}, "reasons": {"n_epochs": "30 passes"}, "warnings": []}


@pytest.fixture
def model_server(change_env):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            server.asked.append((self.path, body))
            self.send_response(server.status)
            self.end_headers()
            self.wfile.write(json.dumps(server.answer).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.status, server.answer = [], 200, PLAN
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    change_env(inference_url=f"http://127.0.0.1:{server.server_address[1]}")
    yield server
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture
def body(scope):
    from fettle_platform.datasets.services import file_create

    def upload(owner):
        row = json.dumps({"messages": [{"role": "user", "content": "1+1"}], "answer": "2"}) + "\n"
        made = file_create(
            project=owner.project, purpose="fine-tune", filename="rows.jsonl", source=io.BytesIO(row.encode())
        )
        return made.public_id

    def make(owner=scope, **fields):
        return {
            "model": "fettle-tiny",
            "training_file": upload(owner),
            "method": {"type": "reinforcement", "reinforcement": {"grader": GRADER}},
            "fettle": {"validation_split": 0.2},
        } | fields

    return make


def test_the_model_server_is_asked_about_exactly_this_job_and_none_is_made(api, body, model_server):
    asked = body(seed=5)
    response = api.post("/v1/fettle/plan", asked)
    assert response.status_code == 200, response.json()
    assert response.json() == {"object": "fettle.plan"} | PLAN
    ((path, spec),) = model_server.asked
    assert path == "/fettle/plan"
    assert (spec["base_model"], spec["seed"], spec["validation_split"]) == ("fettle-tiny", 5, 0.2)
    assert spec["training_file"]["file_id"] == asked["training_file"]
    assert api.get("/v1/fine_tuning/jobs").json()["data"] == []


def test_without_a_seed_the_same_question_is_asked_again(api, body, model_server):
    asked = body()
    for _ in range(2):
        api.post("/v1/fettle/plan", asked)
    first, second = (spec["seed"] for _, spec in model_server.asked)
    assert first == second


def test_a_field_that_the_grader_reads_and_a_row_lacks_is_named_with_its_line(api, body, model_server, error_of):
    grader = GRADER | {"reference": "{{item.solution}}"}
    asked = body(method={"type": "reinforcement", "reinforcement": {"grader": grader}})
    found = error_of(api.post("/v1/fettle/plan", asked), 400)
    assert (found["code"], found["param"]) == ("invalid_training_file", "training_file")
    assert "line 1, solution" in found["message"]
    assert model_server.asked == []


def test_what_is_odd_about_the_rows_comes_with_the_plan(api, body, model_server):
    asked = body(fettle=None, validation_file=body()["training_file"])
    model_server.answer = PLAN | {"warnings": ["few rows"]}
    overlap, few = api.post("/v1/fettle/plan", asked).json()["warnings"]
    assert overlap.startswith("1 validation prompts are also in the training file")
    assert few == "few rows"


def test_what_the_job_would_fail_with_is_passed_on(api, body, model_server, error_of):
    model_server.status = 400
    error = {"message": "row 3 (line 4): too long", "param": "training_file", "code": "invalid_training_file"}
    model_server.answer = {"error": error | {"type": "invalid_request_error"}}
    found = error_of(api.post("/v1/fettle/plan", body()), 400)
    assert {name: found[name] for name in error} == error


def test_a_model_server_that_cannot_foresee_is_said_to_be_one(api, body, model_server, error_of):
    model_server.status, model_server.answer = 404, {"detail": "Not Found"}
    assert error_of(api.post("/v1/fettle/plan", body()), 503)["code"] == "plan_unavailable"


def test_an_answer_that_is_no_plan_is_a_fault_of_the_model_server(api, body, model_server, error_of):
    model_server.answer = {"choices": []}
    assert error_of(api.post("/v1/fettle/plan", body()), 502)["code"] == "upstream_error"


def test_without_a_model_server_nothing_is_foreseen(api, body, change_env, error_of):
    change_env(inference_url=None)
    assert error_of(api.post("/v1/fettle/plan", body()), 503)["code"] == "plan_unavailable"


def test_another_projects_file_is_not_there(api, body, other, model_server, error_of):
    found = error_of(api.post("/v1/fettle/plan", body(owner=other[0])), 400)
    assert (found["code"], found["param"]) == ("file_not_found", "training_file")
    assert model_server.asked == []


def test_it_needs_a_key_and_post(anonymous, api, error_of):
    error_of(anonymous.post("/v1/fettle/plan", {}), 401)
    error_of(api.get("/v1/fettle/plan"), 405)
